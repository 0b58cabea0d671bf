"""The log of a mesh that runs for weeks."""

import structlog

from services.local import logs


def test_a_log_that_grows_is_put_aside_while_it_is_written(tmp_path):
    log = logs.Log(tmp_path / "mesh.log", max_bytes=100)
    for number in range(50):
        log.write(f"line {number:03}\n")
    log.close()
    old, new = (tmp_path / "mesh.log.1").read_text(), (tmp_path / "mesh.log").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mesh.log", "mesh.log.1"]
    assert max(len(old), len(new)) <= 100
    assert (old + new).splitlines() == [f"line {number:03}" for number in range(50)][
        -len((old + new).splitlines()) :
    ]
    assert new.endswith("line 049\n")


def test_what_is_logged_while_it_is_open_is_in_the_file_and_stays_there(tmp_path):
    for word in ("first", "second"):
        with logs.open_file(tmp_path):
            structlog.get_logger().info(word)
    assert [word in logs.path(tmp_path).read_text() for word in ("first", "second")] == [True, True]
