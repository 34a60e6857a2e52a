"""Keep an NVIDIA board busy with a matrix product until killed: the load of gpu_probe.py.

    python benchmarks/gpu_load.py [INDEX]

Says "ready" when the first product is done; without torch or a CUDA board it says why and ends with 1.
"""

from __future__ import annotations

import sys


def main() -> None:
    try:
        import torch
    except ImportError:
        sys.exit("torch is not installed")
    if not torch.cuda.is_available():
        sys.exit("torch sees no CUDA board")
    device = f"cuda:{sys.argv[1] if len(sys.argv) > 1 else 0}"
    factor = torch.randn(8192, 8192, device=device, dtype=torch.bfloat16)
    factor @ factor
    torch.cuda.synchronize(device)
    print("ready", flush=True)
    while True:
        for _ in range(20):
            factor @ factor
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
