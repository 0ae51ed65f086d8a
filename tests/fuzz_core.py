"""Fuzz the compiled core: the sanitizers look at every access to memory, and what it makes of an
input is compared with what the pure path makes of it (``fuzz_target.py``).

``nox -s fuzz`` takes a minute; ``nox -s fuzz -- --seconds 3600 --corpus FOLDER`` goes on with what
an earlier run has found. Needs Linux, a C compiler with its sanitizers, and atheris, which brings
libFuzzer.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import atheris
from peer import PING, frame, text
from written import STREAMS, frames

HERE = Path(__file__).parent
CORE = Path("k2trio/compiled/_core.c")
MARK = b"\xfe\xfe"
"""Between texts of an input; no text holds it."""
SEEDS = 60
MAX_INPUT_BYTES = 8192
TIMEOUT_S = 20
"""For one input: some say more than once what takes long."""
SANITIZED = (
    "-O1",
    "-g",
    "-fPIC",
    "-fno-omit-frame-pointer",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
    "-fsanitize-coverage=trace-pc,trace-cmp",
)
OPTIONS = {
    "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    "PYTHONMALLOC": "malloc",  # so that objects of Python are watched as well
}
WORDS = r"""
"stream":" ","data": "e":" "E": "s": "k":{ "b":[ "a":[ [[" "] "],[" [] ]] }} true false null
\u0041 \" 1e5 -0 -1 999999999999999999 9223372036854775807 é
""".encode().split()


def build(folder: Path) -> None:
    """A copy of the package with the sanitizers in its core."""
    shutil.copytree(
        HERE.parent / "k2trio", folder / "k2trio", ignore=shutil.ignore_patterns("*.so", "*.pyc")
    )
    compiler = os.environ.get("CC", "cc")
    if shutil.which(compiler) is None:
        sys.exit(f"there is no C compiler {compiler!r}; install one, or name it in CC")
    include = f"-I{sysconfig.get_path('include')}"
    made = folder / CORE.with_name("_core" + sysconfig.get_config_var("EXT_SUFFIX"))
    objects = {folder / CORE: (include, *SANITIZED), HERE / "fuzz_coverage.c": ("-O2", "-fPIC")}
    for source, flags in objects.items():
        there = folder / f"{source.stem}.o"
        subprocess.run([compiler, *flags, "-c", source, "-o", there], check=True)  # noqa: S603
    # What the sanitizers need comes with libFuzzer; only the counting is our own.
    ours = [folder / f"{source.stem}.o" for source in objects]
    subprocess.run([compiler, "-shared", "-Wl,-Bsymbolic", *ours, "-o", made], check=True)  # noqa: S603


def write_seeds(folder: Path) -> None:
    """What the exchange sends, so that the fuzzer need not find out."""
    for seed in range(SEEDS):
        rng = random.Random(seed)
        streams = tuple(rng.sample(STREAMS, rng.choice((1, 2, len(STREAMS)))))
        some = list(itertools.islice(frames(seed, streams), rng.choice((1, 4, 12))))
        how, size = rng.randrange(8), rng.choice((0, 0, 11, 100))
        rest = b"".join(map(text, some)) + frame(PING, b"now") if how & 1 else MARK.join(some)
        (folder / f"seed{seed}").write_bytes(bytes((how, size)) + rest)


def write_words(path: Path) -> None:
    """The words of the language, for libFuzzer to put in."""
    words = [*WORDS, MARK, b"\x81\x7e"]
    escaped = ("".join(f"\\x{byte:02x}" for byte in word) for word in words)
    path.write_text("".join(f'"{word}"\n' for word in escaped))


def fuzz(seconds: int, corpus: Path | None) -> int:
    """Build, and run for so long; the exit code of libFuzzer."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build(folder)
        (seeds := folder / "seeds").mkdir()
        write_seeds(seeds)
        write_words(folder / "words")
        corpus = corpus or folder / "corpus"
        corpus.mkdir(exist_ok=True, parents=True)
        preload = Path(atheris.path()) / "asan_with_fuzzer.so"
        paths = os.pathsep.join([str(folder), str(HERE), os.environ.get("PYTHONPATH", "")])
        told = {"LD_PRELOAD": str(preload), "PYTHONPATH": paths, **OPTIONS}
        limits = [
            f"-max_total_time={seconds}",
            f"-max_len={MAX_INPUT_BYTES}",
            f"-timeout={TIMEOUT_S}",
            f"-dict={folder / 'words'}",
            "-rss_limit_mb=4096",
            "-print_final_stats=1",
        ]
        command = [sys.executable, str(HERE / "fuzz_target.py"), *limits, str(corpus), str(seeds)]
        return subprocess.run(command, env=os.environ | told, check=False).returncode  # noqa: S603


def main() -> int:
    """As the command line says."""
    parser = argparse.ArgumentParser(description="Fuzz the compiled core.")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--corpus", type=Path, help="a folder of inputs, to go on with")
    chosen = parser.parse_args()
    return fuzz(chosen.seconds, chosen.corpus)


if __name__ == "__main__":
    sys.exit(main())
