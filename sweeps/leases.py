"""Leases: at most one process trains a stack, also where several machines share the folder of a sweep.

    OUT/.leases/<stack>.<generation>.json   who trains the stack; the time of its last change is the heartbeat

A claim is a file that only one process can create. It holds if, after it was made, no other claim stands that excludes
it. A holder renews its file; one whose process is gone, or that renewed nothing for the time it promised, has lost
it: the next claim has a higher generation, and a holder that finds one, or its own file gone, stops before it writes.
Ages are measured by the clock of the file system, which all machines share. No locks of the file system are needed:
shared ones often lack them. Nothing here imports torch.
"""

from __future__ import annotations

import json
import os
import platform
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

from scaling.errors import ScalingError
from sweeps.records import writing
from sweeps.runs import part_key

FOLDER = ".leases"
#: A holder that renewed its lease for this long no more has lost it. Renewals are BEATS times as frequent; shared file
#: systems may show them a minute late.
LEASE_SECONDS = 120.0
BEATS = 8


class Leased(ScalingError):
    """Another process trains the stack."""

    def __init__(self, key: str, holder: Holder) -> None:
        super().__init__(f"stack {key} is trained by {holder.name}")
        self.key, self.holder = key, holder


class LeaseLost(ScalingError):
    """This process no longer holds its lease and must not write."""


@dataclass(frozen=True)
class Holder:
    """Who claims a stack. `machine` tells hosts and containers apart, `began` a process from a later one of its pid."""

    id: str
    host: str
    machine: str
    pid: int
    began: int | None
    seconds: float  # a lease not renewed for so long is lost

    @property
    def name(self) -> str:
        return f"process {self.pid} on {self.host}"


@dataclass(frozen=True)
class _Claim:
    key: str
    generation: int
    path: Path
    holder: Holder
    renewed: float  # by the clock of the file system


class Lease:
    """A claim that holds, renewed by a thread until `release`."""

    def __init__(self, claim: _Claim) -> None:
        self._claim, self._lost = claim, ""
        self._confirmed = _clocks()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew, name=f"lease of {claim.key}", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """LeaseLost unless this process may write. Costs nothing where the lease was renewed lately.

        A process that was paused finds its last renewal long ago, and looks before it goes on.
        """
        if not self._lost and _since(self._confirmed) > self._claim.holder.seconds / 2:
            self._confirm()
            if _since(self._confirmed) > self._claim.holder.seconds:
                self._lost = self._lost or "its lease could not be renewed"
        if self._lost:
            raise LeaseLost(f"stack {self._claim.key} stops here: {self._lost}")

    def release(self) -> None:
        """End the lease; a lost one is another's and stays as it is."""
        self._ended.set()
        self._thread.join()
        with suppress(OSError):
            if not self._lost and _read(self._claim.path) == self._claim.holder:
                self._claim.path.unlink()

    def _renew(self) -> None:
        while not self._lost and not self._ended.wait(self._claim.holder.seconds / BEATS):
            self._confirm()

    def _confirm(self) -> None:
        """Renew the lease, then look for a claim that saw it unrenewed: one of the two sees the other."""
        now, own = _clocks(), self._claim
        try:
            os.utime(own.path)
            rivals = [claim for claim in _claims(own.path.parent) if _exclude(claim.key, own.key)]
        except FileNotFoundError:
            self._lost = f"its lease, not renewed for {own.holder.seconds:g} s, was taken over (was it paused?)"
        except OSError:
            return  # the file system is away: the next renewal may find it back
        else:
            others = [claim.holder for claim in rivals if claim.holder.id != own.holder.id]
            if others or not rivals:
                by = f" by {others[0].name}" if others else ""
                self._lost = f"its lease was taken over{by} (was it paused?)"
            else:
                self._confirmed = now


@contextmanager
def leased(out: Path, key: str, seconds: float = LEASE_SECONDS) -> Iterator[Lease]:
    """Hold the lease on stack `key` within; Leased where another holds it, RecordError where it cannot be written.

    A lease on a stack excludes those on its parts, whose keys go on after a "-", and the other way round.
    """
    lease = Lease(_take(out / FOLDER, key, seconds))
    try:
        yield lease
    finally:
        lease.release()


def holders(out: Path) -> dict[str, Holder]:
    """Stack -> who trains it now."""
    folder = out / FOLDER
    claims = _claims(folder)
    if not claims:
        return {}
    now = _now(folder)
    return {claim.key: claim.holder for claim in claims if not _stale(claim, now)}


def holder_of(key: str, held: dict[str, Holder]) -> Holder | None:
    """Who of `held` excludes a lease on `key`."""
    return next((holder for other, holder in held.items() if _exclude(key, other)), None)


def holder_of_run(stack: str, trunk: str, held: dict[str, Holder]) -> Holder | None:
    """Who of `held` trains a run of `trunk` in `stack`: with the whole stack, or with the tree alone."""
    return held.get(stack) or held.get(part_key(stack, trunk))


def _take(folder: Path, key: str, seconds: float) -> _Claim:
    me = Holder(secrets.token_hex(8), platform.node(), _machine(), os.getpid(), _began(os.getpid()), seconds)
    draft = folder / f".{me.id}"
    with writing(draft):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            draft.write_text(json.dumps(asdict(me)))
            now = draft.stat().st_mtime
            before = [claim for claim in _claims(folder) if _exclude(claim.key, key)]
            for claim in before:
                if not _stale(claim, now):
                    raise Leased(key, claim.holder)
            generation = 1 + max((claim.generation for claim in before if claim.key == key), default=0)
            path = folder / f"{key}.{generation}.json"
            try:
                _link(draft, path)
            except FileExistsError:
                raise Leased(key, _read(path)) from None
        finally:
            draft.unlink(missing_ok=True)
        own = _Claim(key, generation, path, me, now)
        # The claim is seen by others from here on. It holds if none was made meanwhile, and if none that looked lost
        # was renewed: whoever does either later sees this one.
        new = [c for c in _claims(folder) if _exclude(c.key, key) and c.holder.id != me.id and c not in before]
        if new:
            path.unlink(missing_ok=True)
            raise Leased(key, new[0].holder)
        for claim in before:
            claim.path.unlink(missing_ok=True)
    return own


def _exclude(a: str, b: str) -> bool:
    """Whether two stacks may not train at once: they are the same, or one is a part of the other."""
    return a == b or a.startswith(b + "-") or b.startswith(a + "-")


def _claims(folder: Path) -> list[_Claim]:
    found = []
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else []:
        key, _, generation = path.stem.rpartition(".")
        if not key or not generation.isdigit():
            continue
        try:
            with path.open() as file:  # opened, for shared file systems bring what they know up to date then
                holder, renewed = _holder(file.read()), os.fstat(file.fileno()).st_mtime
        except FileNotFoundError:
            continue
        found.append(_Claim(key, int(generation), path, holder, renewed))
    return found


def _read(path: Path) -> Holder:
    try:
        return _holder(path.read_text())
    except OSError:
        return _holder("")


def _holder(text: str) -> Holder:
    """What a lease file says; a damaged one belongs to nobody known and ages like the others."""
    try:
        return Holder(**json.loads(text))
    except (ValueError, TypeError):
        return Holder("", "an unknown host", "", 0, None, LEASE_SECONDS)


def _stale(claim: _Claim, now: float) -> bool:
    holder = claim.holder
    gone = holder.machine == _machine() and not _alive(holder.pid, holder.began)
    return gone or now - claim.renewed > holder.seconds


def _now(folder: Path) -> float:
    """The time by the clock of the file system, or this machine's where nothing can be written."""
    probe = folder / f".{secrets.token_hex(8)}"
    try:
        probe.touch()
        try:
            return probe.stat().st_mtime
        finally:
            probe.unlink()
    except OSError:
        return time.time()


def _link(draft: Path, path: Path) -> None:
    """Give `draft` the name `path`, whole, if nothing has it: FileExistsError otherwise."""
    try:
        os.link(draft, path)
    except FileExistsError:
        raise
    except OSError:  # no hard links there; a reader may then see the file before its text
        with path.open("x") as file:
            file.write(draft.read_text())


def _clocks() -> tuple[float, float]:
    """Two clocks: one is not set by anybody, the other goes on while the machine sleeps."""
    return time.monotonic(), time.time()


def _since(then: tuple[float, float]) -> float:
    return max(abs(a - b) for a, b in zip(_clocks(), then, strict=True))


@lru_cache(maxsize=1)
def _machine() -> str:
    """Names the processes whose pids mean something here: those of this boot and this container."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return f"{platform.node()} {os.name}"


def _began(pid: int) -> int | None:
    """When a process began, in ticks since boot; None where the system does not say."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None


def _alive(pid: int, began: int | None) -> bool:
    if os.name != "posix":
        return True  # there is no harmless way to ask
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    state = _state(pid)
    return state != "Z" and (began is None or _began(pid) in (None, began))


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""
