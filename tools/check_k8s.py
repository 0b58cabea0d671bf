"""Check deploy/k8s without a cluster: the rendering, Kubernetes' schemas, our own rules, and the manifests against the code.

`python tools/check_k8s.py` exits 1 and names every breach; `--write` renders the base anew first.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script, only tools/ is on the path

from tools.k8s import render, schema
from tools.k8s.manifests import Manifests
from tools.k8s.rules import RULES
from tools.k8s.shape import check_shape, servers


def main() -> int:
    """Print each breach, then what was checked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="render the base into deploy/k8s/rendered first")
    try:
        if parser.parse_args().write:
            render.write()
        manifests = Manifests(tuple(render.read()))
    except render.RenderError as error:
        print(error, file=sys.stderr)
        return 1
    breaches = [breach for each in manifests.objects for breach in schema.check(each)]
    breaches += [breach for rule in RULES for breach in rule(manifests)]
    breaches += check_shape(manifests, servers())
    for breach in breaches:
        print(breach, file=sys.stderr)
    print(f"deploy/k8s: {len(manifests.objects)} objects, {len(breaches)} breaches")
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())
