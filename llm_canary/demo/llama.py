"""Serves a GGUF file over the OpenAI protocol: the child process behind `LocalModel`.

It writes its address to a file once it answers, and ends when its standard input does: with the
parent, however that one ends.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def main() -> None:
    """Load the model, say where it answers, serve until standard input ends."""
    parser = argparse.ArgumentParser(prog="llm_canary.demo.llama")
    parser.add_argument("file", type=Path)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--slots", type=int, required=True)
    parser.add_argument("--context", type=int, required=True)
    parser.add_argument("--address-file", type=Path, required=True)
    options = parser.parse_args()

    import xllamacpp  # noqa: PLC0415 - 100 MB of native code

    params = xllamacpp.CommonParams()
    params.model.path = str(options.file)
    params.model_alias = {options.file.name.split(".")[0].lower()}
    params.port = 0
    params.n_parallel = options.slots
    params.n_ctx = options.slots * options.context
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = options.threads
    params.n_gpu_layers = 0
    # A cache of past prompts in main memory would grow to gigabytes for nothing.
    params.cache_ram_mib = 0
    params.verbosity = 0
    params.ui = False
    server = xllamacpp.Server(params)
    ready = options.address_file.with_suffix(".tmp")
    ready.write_text(server.listening_address, encoding="utf-8")
    ready.replace(options.address_file)  # never seen half written
    sys.stdin.read()


if __name__ == "__main__":
    main()
