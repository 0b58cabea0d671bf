"""TensorFlow.js models whose files are wrapped in scripts, as nsfwjs publishes them."""

import base64
import json
from pathlib import Path

import numpy as np
import pytest

from services.models.tfjs import TfjsError, read_tfjs
from services.models.tfjs_files import read_document

BEFORE = (
    '!function(e){"object"==typeof exports?module.exports=e():this.model=e()}(function(){return function e(a,n,i){'
    "for(var l=0;l<i.length;l++)n(i[l]);return n}({1:[function(e,t,$){t.exports="
)
AFTER = "},{}]},{},[1])(1)});"


def script(literal: str) -> str:
    return BEFORE + literal + AFTER


def test_a_literal_of_javascript_is_read(tmp_path: Path) -> None:
    path = tmp_path / "model.min.js"
    path.write_text(script('{a:!0,b:[!1,.5,-.25,1e-3,null],"c d":"a:!0,.5 \\" {e:1}",$_1:{}}'))
    assert read_document(path) == {
        "a": True,
        "b": [False, 0.5, -0.25, 1e-3, None],
        "c d": 'a:!0,.5 " {e:1}',
        "$_1": {},
    }


@pytest.mark.parametrize("text", ["", "alert(1)", BEFORE + "{}", script("function(){}"), script("{a:b}")])
def test_a_script_of_another_kind_is_refused_and_not_run(tmp_path: Path, text: str) -> None:
    path = tmp_path / "model.min.js"
    path.write_text(text)
    with pytest.raises(TfjsError, match=r"not a TensorFlow\.js graph model"):
        read_tfjs(path)


def coded(tmp_path: Path, shard: str) -> Path:
    """The graph x + w, whose w is three codes of 8 bits."""
    weight = {
        "name": "w",
        "shape": [3],
        "dtype": "float32",
        "quantization": {"min": -1, "scale": 0.5, "dtype": "uint8"},
    }
    document = {
        "modelTopology": {
            "node": [
                {"op": "AddV2", "name": "y", "input": ["x", "w"]},
                {"op": "Placeholder", "name": "x"},
            ]
        },
        "userDefinedMetadata": {
            "signature": {"inputs": {"x": {"name": "x:0"}}, "outputs": {"y": {"name": "y:0"}}}
        },
        "weightsManifest": [{"paths": ["group1-shard1of1"], "weights": [weight]}],
    }
    (tmp_path / "model.min.js").write_text(script(json.dumps(document)))
    (tmp_path / "group1-shard1of1.min.js").write_text(script(json.dumps(shard)))
    return tmp_path / "model.min.js"


def test_codes_of_8_bits_are_numbers_again(tmp_path: Path) -> None:
    graph = read_tfjs(coded(tmp_path, base64.b64encode(bytes([0, 2, 255])).decode()))
    np.testing.assert_array_equal(graph.constants["w"], np.array([-1, 0, 126.5], np.float32))
    assert graph.constants["w"].dtype == np.float32


@pytest.mark.parametrize("shard", ["AA", "A!==", base64.b64encode(bytes(2)).decode()])
def test_a_damaged_shard_is_refused(tmp_path: Path, shard: str) -> None:
    with pytest.raises(TfjsError, match="shard"):
        read_tfjs(coded(tmp_path, shard))
