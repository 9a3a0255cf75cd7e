"""The self-check: this machine makes the conformance suite again, and every array must be the one that came with it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass

from pcmref.arithmetic.choice import kernels
from pcmref.errors import PcmrefError
from pcmref.golden.check import compare
from pcmref.golden.folders import read_case
from pcmref.golden.readouts import readout_of
from pcmref.golden.suite import CASES, REFUSED, arrays_digest, read_suite, suite_folder
from pcmref.golden.verdicts import Verdict, verdict_text
from pcmref.references import SPEC_VERSION, VERSION

__all__ = ["SelfCheck", "machine_text", "selfcheck", "selfcheck_text"]


@dataclass(frozen=True, kw_only=True)
class SelfCheck:
    """What a self-check found.

    Parameters
    ----------
    verdicts : tuple of (str, int, Verdict)
        Of each case: its name, how many arrays it has, and how they compare.
    refused : tuple of (str, bool)
        Of each readout that must be refused: why, and whether it was.
    digest, expected : str
        Of all arrays, as made here and as they came.
    """

    verdicts: tuple[tuple[str, int, Verdict], ...]
    refused: tuple[tuple[str, bool], ...]
    digest: str
    expected: str

    @property
    def passed(self) -> bool:
        """Whether all is as it must be."""
        equal = all(verdict.status == "equal" for _, _, verdict in self.verdicts)
        return equal and all(refused for _, refused in self.refused) and self.digest == self.expected


def selfcheck(progress: Callable[[str], None] = lambda name: None) -> SelfCheck:
    """Make the conformance suite again and compare; `progress` is called with the name of each case.

    Raises
    ------
    FileError
        If the suite that came with pcmref is damaged.
    """
    made, verdicts = {}, []
    folder = suite_folder()
    expected = str(read_suite(folder)["digest"])
    for name, make in CASES.items():
        progress(name)
        golden = read_case(folder / name)
        made[name] = make(folder)
        same = {array: entry.shape for array, entry in made[name].arrays.items()}
        missing = sorted(set(golden.arrays) - set(same))
        if missing or any(same[array] != entry.shape for array, entry in golden.arrays.items()):
            message = f"other arrays than the suite has: {', '.join(missing) or 'other shapes'}"
            verdict = Verdict(status="missing", case=golden.digest, contract=golden.contract, message=message)
        else:
            verdict = compare(golden, {array: made[name].values[array] for array in golden.arrays})
        verdicts.append((name, len(golden.arrays), verdict))
    return SelfCheck(
        verdicts=tuple(verdicts),
        refused=tuple((what, _refuses(readout)) for what, readout in REFUSED.items()),
        digest=arrays_digest(made),
        expected=expected,
    )


def _refuses(readout: dict[str, object]) -> bool:
    try:
        readout_of(readout)
    except PcmrefError:
        return True
    return False


def machine_text() -> str:
    """Return the versions and the processor that a result was made with."""
    names = ("numpy", "numba", "h5py")
    versions = (f"{name} {importlib.metadata.version(name)}" for name in names if importlib.util.find_spec(name))
    processor = platform.machine()
    if importlib.util.find_spec("llvmlite"):
        from llvmlite import binding

        flags = binding.get_host_cpu_features()
        wide = next((name for name in ("avx512f", "avx2", "neon") if flags.get(name)), "no wide vectors")
        processor += f" {binding.get_host_cpu_name()} ({wide})"
    python = f"{platform.python_implementation()} {platform.python_version()}"
    kind = kernels().__name__.rpartition(".")[2]
    return (
        f"pcmref {VERSION}, SPEC.md version {SPEC_VERSION}, {python}, {', '.join(versions)}\n"
        f"{platform.system()} on {processor}, {os.cpu_count()} processors, kernels: "
        f"{'numba' if kind == 'fast' else 'NumPy'}"
    )


def selfcheck_text(result: SelfCheck) -> str:
    """Return what a self-check found as text."""
    lines = [machine_text(), ""]
    for name, arrays, verdict in result.verdicts:
        lines.append(f"{name:<28} {arrays:>4} arrays  {verdict.status}")
        if verdict.status != "equal":
            lines.append(verdict_text(verdict))
    accepted = [what for what, refused in result.refused if not refused]
    lines.append(
        f"{'readouts to refuse':<28} {len(result.refused):>4}         {'accepted!' if accepted else 'refused'}"
    )
    lines += [f"  {what}" for what in accepted]
    lines += ["", f"digest {result.digest}"]
    lines.append("as it must be" if result.passed else f"must be {result.expected}: do not trust this machine")
    return "\n".join(lines)
