import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.gateway.tenants import NAME, TenantRoom, admitted
from services.runtime.errors import MeshError
from services.runtime.identity import Identity


def test_everyone_is_local_until_somebody_vouches():
    assert admitted(Identity("acme", "r-1"), trust_tenant=False) == Identity("local", "r-1")
    assert admitted(Identity("acme", "r-1"), trust_tenant=True) == Identity("acme", "r-1")


@pytest.mark.parametrize("tenant", ["", "a b", "x" * 65, "ä", "a\n", "../x"])
def test_a_trusted_name_must_be_one(tenant):
    with pytest.raises(MeshError) as raised:
        admitted(Identity(tenant, "r"), trust_tenant=True)
    assert (raised.value.name, raised.value.field) == ("FIELD_INVALID", "x-vmesh-tenant")


@settings(deadline=None)
@given(st.text(max_size=70))
def test_a_request_always_has_a_usable_id(request_id):
    found = admitted(Identity("local", request_id), trust_tenant=False).request_id
    assert NAME.fullmatch(found)
    assert found == request_id or not NAME.fullmatch(request_id)


def test_ids_that_are_made_up_differ():
    assert admitted(Identity(), trust_tenant=False) != admitted(Identity(), trust_tenant=False)


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=60))
def test_room_is_counted_by_tenant_and_given_back(moves):
    room = TenantRoom(3)
    held = {tenant: [] for tenant in "abc"}
    for tenant, enter in moves:
        if not enter and held[tenant]:
            held[tenant].pop().__exit__(None, None, None)
        elif enter:
            entry = room.held(tenant)
            if len(held[tenant]) == 3:
                with pytest.raises(MeshError) as raised:
                    entry.__enter__()
                assert (raised.value.name, raised.value.retry_after) == ("QUOTA_EXHAUSTED", 1.0)
            else:
                entry.__enter__()
                held[tenant].append(entry)
        assert {each: room.active(each) for each in "abc"} == {each: len(held[each]) for each in "abc"}
    for entries in held.values():
        for entry in entries:
            entry.__exit__(None, None, None)
    assert not room._active  # a tenant that is not here takes no memory


def test_room_is_given_back_after_a_failure():
    room = TenantRoom(1)
    with pytest.raises(ValueError), room.held("a"):
        raise ValueError
    with room.held("a"):
        assert room.active("a") == 1
