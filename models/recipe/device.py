"""The device to run on, and the process's settings that go with it."""

from __future__ import annotations

import argparse
import ctypes
import platform
from contextlib import AbstractContextManager, nullcontext

import torch


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")


def prepare(args: argparse.Namespace) -> torch.device:
    """Sets threads and memory as `args` say, and gives the device."""
    torch.set_num_threads(args.threads)
    if args.smoke:
        torch.compiler.set_stance("force_eager")  # compiling takes longer than a few tiny steps
    if platform.libc_ver()[0] == "glibc":
        # Else glibc hands every large tensor back to the system and faults it in anew: 2-10 times slower for the renderer.
        libc = ctypes.CDLL("libc.so.6")
        for option in (-3, -1):  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD
            libc.mallopt(option, 2**31 - 1)
    if args.device.startswith("cuda"):
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True
    return torch.device(args.device)


def mixed(device: torch.device, enabled: bool = True) -> AbstractContextManager:
    """bfloat16 where it is safe."""
    return torch.autocast(device.type, torch.bfloat16) if enabled else nullcontext()
