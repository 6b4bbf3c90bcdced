"""Write the keys that test_published.py compares with, by running the peer package.

Usage: `python tests/antialiasing/make_published_keys.py`
"""

from __future__ import annotations

import gzip
import json
import warnings
from pathlib import Path

import torch

from robustbench_aa.antialiasing.published import ARCHITECTURES

FIXTURE = Path(__file__).with_name("published_keys.json.gz")


def main() -> None:
    """Write the state-dict keys of every form of every architecture, in order, with shapes."""
    import antialiased_cnns as peer

    warnings.simplefilter("ignore")
    forms = {}
    with torch.device("meta"):
        for name, architecture in ARCHITECTURES.items():
            for pool_only in (None,) if architecture.pool_only is None else (True, False):
                chosen = {} if pool_only is None else {"pool_only": pool_only}
                state = getattr(peer, name)(pretrained=False, **chosen).state_dict()
                form = name if pool_only is None else f"{name} pool_only={pool_only}"
                forms[form] = {key: list(tensor.shape) for key, tensor in state.items()}
    FIXTURE.write_bytes(gzip.compress(json.dumps(forms).encode(), mtime=0))


if __name__ == "__main__":
    main()
