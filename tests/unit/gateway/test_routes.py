from services.gateway.proxy import SHAPES
from services.gateway.routes import ROUTES
from services.gateway.settings import Settings


def test_every_open_rpc_is_declared_and_of_a_shape_that_is_relayed():
    for route in ROUTES:
        declared = {method.name: method for method in route.service.methods}
        assert route.open <= set(declared)
        for name, method in declared.items():
            if name in route.open:
                assert (method.client_streaming, method.server_streaming) in SHAPES


def test_each_service_has_one_route_and_each_server_an_address():
    names = [route.service.full_name for route in ROUTES]
    assert len(set(names)) == len(names)
    assert {f"{route.server}_address" for route in ROUTES} <= set(Settings.model_fields)


def test_what_is_for_the_mesh_alone_is_not_open():
    opened = {f"{route.service.name}.{name}" for route in ROUTES for name in route.open}
    assert not opened & {
        "AssetService.CreateAsset",
        "QualityService.ScoreImage",
        "RouterService.DrainBackend",
        "RouterService.Execute",
    }
    of_safety = {name for name in opened if name.startswith("SafetyService")}
    assert of_safety == {
        "SafetyService.ListProtectedWorks",
        "SafetyService.RedactPrompt",
        "SafetyService.RegisterProtectedWork",
        "SafetyService.RemoveProtectedWork",
        "SafetyService.VerifyProvenance",
    }
    assert not any(name.startswith("EnhanceService") for name in opened)
