"""How is a release brought to a Docker host, and back? The steps of a plan, made one after the other under a lock.

Before each step the state at the host says which one it is. A killed deployment therefore leaves a list with a place in
it, and the next command goes on from there: forward where the same release is asked for, back where another one is or
something went wrong. A step that fails before the release is committed starts the way back by itself.
"""

import datetime as dt
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from mlops.deploying import audit as chain
from mlops.deploying import judge, observe, prove, rollout, traffic
from mlops.deploying.docker import PULL, STATE, Engine, Image, Lock
from mlops.deploying.environments import Environment, Strategy
from mlops.deploying.release import (
    Author,
    Clock,
    Pending,
    Release,
    Result,
    Say,
    Server,
    State,
    Step,
    committed,
    earlier,
    left,
    read_state,
    returned,
)
from mlops.errors import Refusal, counted
from mlops.files import dumps

READY = 60.0
"""Seconds that a new container has to become ready."""
PAUSE = 0.2
"""Seconds between two questions whether something has come about."""
DRAINED = traffic.LONGEST + traffic.IDLE
"""Seconds after which an old process of the proxy has ended, whatever its clients do."""
LANES = 4
"""Connections over which load is sent."""
ASKED = 3
"""How often a container is asked for its metrics before a look counts as one that found no data."""
MANIFEST = "/model/manifest.json"
Rows = Callable[[str], Sequence[Mapping[str, Any]]]
"""Recorded rows of a model to replay; none where there are none at hand."""


class Worse(Refusal):
    """The new release is not what it should be; the way back begins."""


class Host:
    """One environment on a Docker host: a `Target`."""

    def __init__(
        self, engine: Engine, environment: Environment, *, author: Author, rows: Rows, clock: Clock | None = None
    ) -> None:
        """Nothing is called yet."""
        self._engine, self._environment, self._author, self._rows = engine, environment, author, rows
        self._clock = clock or Clock()

    # What can be asked

    def state(self, model: str) -> State | None:
        """What is on record for a model; None where it was never deployed here."""
        self._engine.reach()
        if not self._engine.has_proxy():
            return None
        text = self._engine.read(_path(model))
        return None if text is None else self._parsed(text, model)

    def audit(self, model: str) -> list[str]:
        """The lines of the audit log, the oldest first."""
        return (self._engine.read(_log(model)) or "").splitlines() if self._engine.has_proxy() else []

    def shares(self, model: str) -> dict[str, float]:
        """The percentage of the requests that each running version gets, by what the proxy was told."""
        text = self._engine.routed(model) or ""
        servers = [
            Server(unit=words[1].removeprefix("v").rpartition("-")[0], replica=1, weight=int(words[-1]))
            for line in text.splitlines()
            if (words := line.split())[:1] == ["server"]
        ]
        return {unit.partition("-")[0]: rollout.share(servers, unit) for unit in {one.unit for one in servers}}

    def healthy(self, model: str) -> tuple[int, int]:
        """How many containers of what serves are ready, and how many there are."""
        state = self.state(model)
        unit = state.current.unit if state is not None and state.current is not None else ""
        known = [one for one in self._engine.containers(model) if one.unit == unit]
        return sum(one.running and self._ready(model, one.unit, one.replica) for one in known), len(known)

    def resolve(self, model: str, image: str, version: str | None) -> Release:
        """The release that an image is, by what is written on it; without `version` it says that itself."""
        self._engine.reach()
        found = self._engine.image(image)
        if found is None and "/" in image:
            self._engine.pull(image, PULL)
            found = self._engine.image(image)
        if found is None:
            raise Refusal(
                f"The image {image[:200]} of {model} is not at {self._engine.where}.",
                do="Build it there with `make image`, or push it to a registry that this host can reach.",
            )
        release = Release(
            model=model,
            version=version or found.labels.get("mlops.version", ""),
            # A tag may name another image tomorrow, and a rollback must find this one.
            image=image if "@" in image else found.id,
            commit=found.labels.get("org.opencontainers.image.revision", ""),
        )
        self._labelled(release, found)
        return release

    # What can be done

    def deploy(self, release: Release, *, strategy: str, say: Say) -> Result:
        """Let a release serve; where it turns out to be worse, what served still does."""
        engine, model = self._engine, release.model
        engine.reach()
        self._bring_image(release, say)
        self._prepare()
        with self._locked(model) as lock:
            engine.roomy()
            state = self._read(model)
            state, result = self._finish_before_deploy(lock, state, release, say)
            if result is not None:
                return result
            if state.current is not None and state.current.unit == release.unit:
                return self._converge(lock, state, say)
            plan = rollout.deploying(
                state,
                release,
                strategy=_strategy(strategy),
                replicas=self._environment.replicas,
                weights=self._environment.canary.weights,
                serving=self._replicas(state),
            )
            state = self._begin(state, release, strategy, plan)
            return self._told(self._walk(lock, state, say), release)

    def rollback(self, *, model: str, to: str | None, reason: str, say: Say) -> Result:
        """Let an earlier release serve again; what is being deployed is given up."""
        started = self._clock.monotonic()
        self._engine.reach()
        if not self._engine.has_proxy():
            raise Refusal(f"{model} was never deployed to {self._name}.", do="Deploy it first: `mlops deploy`.")
        self._engine.wait_for_proxy()
        with self._locked(model) as lock:
            known = self._read(model)
            state, undone = self._finish_before_rollback(lock, known, to, reason, say)
            serves = state.current
            if undone and serves is not None and to in (None, serves.version, serves.unit):
                sentence = f"{model} {serves.version} serves {self._name} again; {undone}."
                return self._timed(Result(outcome="rolled back", sentence=sentence, release=serves), started, known)
            if serves is not None and to in (serves.version, serves.unit):
                return Result(
                    outcome="unchanged", sentence=f"{model} {to} serves {self._name} already.", release=serves
                )
            target = earlier(state, to)
            self._bring_image(target, say)
            plan = rollout.returning(state, target, replicas=self._environment.replicas, serving=self._replicas(state))
            state = self._begin(state, target, "rollback", plan, reason=reason)
            ended = self._walk(lock, state, say)
            if ended.why:
                raise Refusal(
                    f"{model} could not go back to {target.version} in {self._name}: {ended.why}",
                    do="What served still does. `mlops status` names the other versions.",
                    code=1,
                )
            instead = f" instead of {serves.version}" if serves is not None else ""
            sentence = f"{model} {target.version} serves {self._name}{instead}."
            return self._timed(Result(outcome="rolled back", sentence=sentence, release=target), started, known)

    # Before anything is changed

    @property
    def _name(self) -> str:
        return self._environment.name

    def _prepare(self) -> None:
        # What is at hand is for whoever sits here; a host of its own serves its network.
        publish = f"127.0.0.1:{self._environment.port}" if self._environment.host == "" else f"{self._environment.port}"
        self._engine.prepare(image=self._environment.proxy, publish=f"{publish}:{traffic.PORT}")
        self._engine.wait_for_proxy()

    def _bring_image(self, release: Release, say: Say) -> Image:
        """The release's image on the host, pulled where it is missing; refuses one of another model or version."""
        found = self._engine.image(release.image)
        if found is None:
            if "@" not in release.image:
                raise Refusal(
                    f"The image of {release.model} {release.version} is not at {self._engine.where}.",
                    do="Build it there with `make image`, or push it to a registry that this host can reach.",
                )
            say(f"pull {release.image}")
            self._engine.pull(release.image, PULL)
            found = self._engine.image(release.image)
        assert found is not None
        self._labelled(release, found)
        return found

    def _labelled(self, release: Release, image: Image) -> None:
        """Refuses an image that says that it is something else."""
        said = image.labels.get("mlops.model", ""), image.labels.get("mlops.version", "")
        if said != (release.model, release.version):
            raise Refusal(
                f"The image is for {' '.join(said).strip() or 'no model'}, not {release.model} {release.version}.",
                do="Nothing was changed. Package that version: `make image`.",
            )

    @contextmanager
    def _locked(self, model: str) -> Iterator["_Held"]:
        held = _Held(self, model)
        try:
            yield held
        finally:
            held.lock.release()

    def take(self, model: str) -> Lock:
        """The lock of a model; refuses in one sentence when somebody has it."""
        now = _stamp(self._clock.now())
        lock = self._engine.hold(model, json.dumps({"who": self._author.name, "since": now}))
        if isinstance(lock, Lock):
            return lock
        try:
            holder = json.loads(lock)
            who, since = str(holder["who"]), str(holder["since"])
        except (ValueError, KeyError, TypeError):
            who, since = "somebody", "just now"
        raise Refusal(
            f"{model} is being changed in {self._name} by {who} since {since}.",
            do="Wait for that to end, then type it again.",
        )

    # What was begun before

    def _finish_before_deploy(
        self, lock: "_Held", state: State, release: Release, say: Say
    ) -> tuple[State, Result | None]:
        """Finish what is pending; the result, when that was this very deployment."""
        pending = state.pending
        if pending is None:
            return state, None
        same = pending.release.unit == release.unit and pending.strategy not in ("rollback", "replicas")
        say(f"go on with what {pending.by} began at {pending.started}: {pending.strategy} of {pending.release.version}")
        finish = same or pending.undoing or state.committed or pending.strategy in ("rollback", "replicas")
        if not finish:
            state = self._turn(state, f"{release.version} is deployed instead", by_person=True)
        ended = self._walk(lock, state, say)
        return ended.state, self._told(ended, release) if same else None

    def _finish_before_rollback(
        self, lock: "_Held", state: State, to: str | None, reason: str, say: Say
    ) -> tuple[State, str]:
        """Finish or give up what is pending; says what was given up, when that is what a rollback asks for."""
        pending = state.pending
        if pending is None:
            return state, ""
        say(f"go on with what {pending.by} began at {pending.started}: {pending.strategy} of {pending.release.version}")
        back = pending.strategy == "rollback" and not pending.undoing
        forward = back or state.committed or pending.strategy == "replicas"
        if not forward and not pending.undoing:
            state = self._turn(state, reason or "asked for", by_person=True)
        ended = self._walk(lock, state, say)
        if back:
            return ended.state, "" if ended.why else "the rollback that was begun is finished"
        return ended.state, "" if forward else f"{pending.release.version} was given up"

    # The list

    def _begin(self, state: State, release: Release, strategy: str, plan: rollout.Plan, *, reason: str = "") -> State:
        """Write down what is going to be done, before it is."""
        head = state.head
        origin = state.current.version if state.current else ""
        if strategy not in ("rollback", "replicas"):
            if self._author.override:
                head = self._record(state, "override", origin=origin, to=release.version, reason=self._author.override)
                state = replace(state, head=head)
            head = self._record(state, "deploy", origin=origin, to=release.version, reason=strategy)
        pending = Pending(
            release=release,
            strategy=strategy,
            step=0,
            started=_stamp(self._clock.now()),
            by=self._author.name,
            steps=plan.steps,
            back=plan.back,
            asked=reason,
        )
        return self._write(replace(state, pending=pending, head=head))

    def _turn(self, state: State, why: str, *, by_person: bool) -> State:
        """Begin the way back."""
        assert state.pending is not None
        asked = why if by_person else state.pending.asked
        return self._write(replace(state, pending=replace(state.pending, undoing=why, asked=asked, step=0)))

    def _walk(self, lock: "_Held", state: State, say: Say) -> "_Ended":
        """Make all steps that are left; on trouble, those that lead back."""
        while (pending := state.pending) is not None:
            if pending.step == len(pending.left):
                return self._end(state, pending)
            step = pending.left[pending.step]
            known = state
            say(step.text if not pending.undoing else f"undo: {step.text}")
            lock.check(known)
            try:
                state = self._make(step, state, say)
            except (Exception, KeyboardInterrupt) as problem:
                why = _why(problem)
                if pending.undoing and step.do in ("start", "ready", "stop", "remove", "tidy"):
                    # One container less is better than no way back.
                    say(why)
                elif pending.undoing or state.committed:
                    raise
                else:
                    say(why)
                    lock.check(known)
                    state = self._turn(state, why, by_person=False)
                    continue
            # A step may take long; whoever took the lock meanwhile is not overwritten.
            lock.check(known)
            assert state.pending is not None
            state = self._write(replace(state, pending=replace(state.pending, step=state.pending.step + 1)))
        return _Ended(state, "")

    def _end(self, state: State, pending: Pending) -> "_Ended":
        """All steps are made: nothing is pending any more."""
        head = state.head
        if pending.undoing:
            what: chain.What = "rollback" if pending.asked and pending.strategy != "rollback" else "automatic rollback"
            to = state.current.version if state.current else ""
            head = self._record(state, what, origin=pending.release.version, to=to, reason=pending.undoing)
        return _Ended(self._write(replace(state, pending=None, head=head)), pending.undoing)

    def _make(self, step: Step, state: State, say: Say) -> State:
        """Make one step."""
        engine, model = self._engine, state.model
        match step.do:
            case "start":
                release = state.release(step.unit)
                assert release is not None
                engine.start(release, step.replica)
            case "ready":
                self._wait_ready(model, step.unit, step.replica)
            case "prove":
                self._prove(state, step.unit)
            case "route":
                engine.route(model, step.servers)
            case "observe":
                self._observe(state, step, say)
            case "drain":
                self._drain()
            case "stop":
                engine.stop(model, step.unit, step.replica)
            case "remove":
                engine.remove(model, step.unit, step.replica)
            case "commit":
                return self._commit(state)
            case "tidy":
                self._tidy(state, step)
        return state

    def _commit(self, state: State) -> State:
        pending = state.pending
        assert pending is not None
        release, origin = pending.release, state.current.version if state.current else ""
        if state.committed:
            return state
        if pending.strategy == "rollback":
            head = self._record(state, "rollback", origin=origin, to=release.version, reason=pending.asked)
            return replace(returned(state, release), head=head)
        head = self._record(state, "promote", origin=origin, to=release.version, reason=pending.strategy)
        return replace(committed(state, release), head=head)

    def _tidy(self, state: State, step: Step) -> None:
        for one in self._engine.containers(state.model):
            if one.unit not in step.keep:
                self._engine.remove(state.model, one.unit, one.replica)
        for image in step.images:
            self._engine.forget(image)
        # What was given up is looked into; its predictions go with the next release.
        known = (state.current, *state.previous, state.pending.release if state.pending else None)
        self._engine.clear(state.model, [one.unit for one in known if one is not None])

    def _drain(self) -> None:
        """Until every process of the proxy with an older configuration has answered its clients."""
        end = self._clock.monotonic() + DRAINED
        while self._engine.draining() and self._clock.monotonic() < end:
            self._clock.sleep(PAUSE)

    # Is it good?

    def _ready(self, model: str, unit: str, replica: int) -> bool:
        return self._engine.probe(model, unit, replica, "/v2/health/ready") is not None

    def _wait_ready(self, model: str, unit: str, replica: int) -> None:
        end = self._clock.monotonic() + READY
        while not self._ready(model, unit, replica):
            trouble = self._engine.trouble(model, unit, replica)
            if not trouble and self._clock.monotonic() > end:
                trouble = f"it is not ready after {READY:.0f} seconds"
            if trouble:
                raise Worse(f"{unit.partition('-')[0]} replica {replica} does not become ready: {trouble}.")
            self._clock.sleep(PAUSE)

    def _prove(self, state: State, unit: str) -> None:
        release = state.release(unit)
        assert release is not None
        manifest = self._manifest(state.model, unit)
        send = self._send(state.model, unit, 1)
        proofs = [
            *prove.smoke(send, model=state.model, version=release.version),
            *prove.contract(send, manifest=manifest),
        ]
        if prove.passed(proofs):
            pour = self._pour(state.model, unit, 1)
            proofs.append(prove.load(pour, rows=_proof_rows(manifest), limits=self._environment.load))
        failed = [one for one in proofs if not one.passed]
        if failed:
            raise Worse(f"{release.version} is not what it should be: {failed[0].sentence}")

    def _observe(self, state: State, step: Step, say: Say) -> None:
        """Look at both sides until the judge has decided."""
        pending, limits = state.pending, self._environment.judge
        assert pending is not None
        assert state.current is not None
        old, new = state.current, pending.release
        sides = {unit: [one.replica for one in self._engine.containers(state.model) if one.unit == unit and one.running]
                 for unit in (old.unit, new.unit)}  # fmt: skip
        rows = list(self._rows(state.model)) or _proof_rows(self._manifest(state.model, old.unit))
        watched = sum(one.do == "observe" for one in pending.steps)
        everybody = [(unit, number) for unit, known in sides.items() for number in known]
        started, evidence, place = self._clock.monotonic(), judge.Evidence(), 0

        def metrics(unit: str, replica: int) -> str | None:
            # A look that finds nothing is lost for the judge, and a busy host may be late.
            for turn in range(ASKED):
                if turn:
                    self._clock.sleep(PAUSE)
                if (found := self._engine.probe(state.model, unit, replica, "/metrics")) is not None:
                    return found
            return None

        def scrape() -> dict[str, dict[str, str | None]]:
            texts = at_once(metrics)
            return {unit: {f"replica {n}": texts[unit, n] for n in known} for unit, known in sides.items()}

        def replay(count: int) -> None:
            bodies = [{"rows": [rows[(place + number) % len(rows)]]} for number in range(count)]

            def send(unit: str, replica: int) -> None:
                lanes = sides[unit]
                part = bodies[lanes.index(replica) :: len(lanes)]
                self._engine.ask(state.model, unit, replica, "/predict", part, seconds=len(part))

            at_once(send)

        def at_once(ask: Callable[[str, int], Any]) -> dict[tuple[str, int], Any]:
            # Of both sides together, so that whatever else the host does hits both.
            with ThreadPoolExecutor(max(1, len(everybody))) as pool:
                return dict(zip(everybody, pool.map(lambda one: ask(*one), everybody), strict=True))

        def look(first: Any, last: Any, replayed: int = 0) -> judge.Look:
            canary = observe.window(first[new.unit], last[new.unit], version=new.version)
            stable = observe.window(first[old.unit], last[old.unit], version=old.version)
            return judge.Look(canary=canary, stable=stable, replayed=replayed)

        def decide() -> judge.Judgement:
            return judge.decide(evidence, limits=limits, elapsed=self._clock.monotonic() - started, steps=watched)

        before = scrape()
        while True:
            self._clock.sleep(limits.seconds)
            after = scrape()
            evidence = evidence.after(look(before, after), limits)
            found = decide()
            if found.answer == "hold" and (count := found.replay):
                replay(count)
                place += count
                before, after = after, scrape()
                evidence = evidence.after(look(before, after, count), limits)
                found = decide()
            if found.answer == "promote":
                say(f"{new.version} is as good at {step.share} %: {' '.join(found.reasons)}")
                return
            if found.answer == "roll back":
                raise Worse(f"{new.version} is worse at {step.share} %: {' '.join(found.reasons)}".rstrip("."))
            before = after

    def _manifest(self, model: str, unit: str) -> dict[str, Any]:
        text = self._engine.file(model, unit, 1, MANIFEST)
        try:
            found = json.loads(text or "")
            assert isinstance(found, dict)
        except (ValueError, AssertionError):
            raise Worse(f"{unit.partition('-')[0]} has no manifest at {MANIFEST}.") from None
        return found

    def _send(self, model: str, unit: str, replica: int) -> prove.Send:
        def send(path: str, body: Any) -> prove.Reply:
            if body is not None:
                replies = self._engine.ask(model, unit, replica, path, [body], seconds=20)
                return replies[0] if replies else prove.Reply(0, 0.0, None)
            text = self._engine.probe(model, unit, replica, path)
            if text is None:
                return prove.Reply(0, 0.0, None)
            try:
                return prove.Reply(200, 0.0, json.loads(text))
            except ValueError:
                return prove.Reply(200, 0.0, None)

        return send

    def _pour(self, model: str, unit: str, replica: int) -> prove.Pour:
        """Requests at a constant rate, on a few connections that each have their share of it."""

        def pour(path: str, bodies: Sequence[Any], rate: float) -> Iterable[prove.Reply]:
            started = self._clock.monotonic()

            def due(lane: int) -> Iterator[Any]:
                for place in range(lane, len(bodies), LANES):
                    self._clock.sleep(max(0.0, started + place / rate - self._clock.monotonic()))
                    yield bodies[place]

            def send(lane: int) -> list[prove.Reply]:
                return self._engine.ask(model, unit, replica, path, due(lane), seconds=len(bodies) / rate)

            with ThreadPoolExecutor(LANES) as pool:
                return [reply for replies in pool.map(send, range(min(LANES, len(bodies)))) for reply in replies]

        return pour

    # The same release again

    def _converge(self, lock: "_Held", state: State, say: Say) -> Result:
        """Nothing to do, or as many containers as there should be, all of them asked."""
        release, model = state.current, state.model
        assert release is not None
        wanted = self._environment.replicas
        known = self._engine.containers(model)
        running = sorted(one.replica for one in known if one.unit == release.unit and one.running)
        servers = [Server(unit=release.unit, replica=number) for number in range(1, wanted + 1)]
        told = self._engine.routed(model)
        right = told is not None and told.strip() == traffic.backend(model, servers).strip()
        if (
            right
            and running == list(range(1, wanted + 1))
            and all(self._ready(model, release.unit, n) for n in running)
        ):
            sentence = f"{model} {release.version} serves {self._name} already; nothing was touched."
            return Result(outcome="unchanged", sentence=sentence, release=release)
        plan = rollout.converging(state, replicas=wanted, serving=running)
        state = self._begin(state, release, "replicas", plan)
        ended = self._walk(lock, state, say)
        if ended.why:
            return Result(outcome="rolled back", sentence=f"{model} {release.version}: {ended.why}", release=release)
        sentence = f"{model} {release.version} serves {self._name} with {counted(wanted, 'replica')}."
        return Result(outcome="deployed", sentence=sentence, release=release)

    def _replicas(self, state: State) -> list[int]:
        """The containers of what serves that run, by number."""
        if state.current is None:
            return []
        known = self._engine.containers(state.model)
        return sorted(one.replica for one in known if one.running and one.unit == state.current.unit)

    # What is written

    def _told(self, ended: "_Ended", release: Release) -> Result:
        serves, model = ended.state.current, release.model
        if not ended.why:
            before = next((one.version for one in ended.state.previous), "")
            instead = f" instead of {before}" if before else ""
            sentence = f"{model} {release.version} serves {self._name}{instead}."
            return Result(outcome="deployed", sentence=sentence, release=serves, facts={"left": before})
        now = f"{serves.version} serves" if serves else "nothing serves"
        sentence = f"{model} {release.version} was rolled back in {self._name}, {now}: {ended.why.rstrip('.')}."
        return Result(outcome="rolled back", sentence=sentence, release=serves)

    def _timed(self, result: Result, started: float, before: State) -> Result:
        seconds = round(self._clock.monotonic() - started, 1)
        facts = {"seconds": seconds, "left": left(before, result.release)}
        return replace(result, sentence=f"{result.sentence[:-1]}, after {seconds:g} seconds.", facts=facts)

    def _parsed(self, text: str, model: str) -> State:
        where = f"{_path(model)} at {self._engine.where}"
        try:
            return read_state(json.loads(text), where=where)
        except ValueError:
            raise Refusal(f"The state in {where} is not valid JSON.", do="Restore it from a backup.") from None

    def _read(self, model: str) -> State:
        text = self._engine.read(_path(model))
        return State(model=model) if text is None else self._parsed(text, model)

    def same(self, state: State) -> bool:
        """Whether the state at the host is the one that we wrote last."""
        return self._read(state.model) == state

    def _write(self, state: State) -> State:
        self._engine.write(_path(state.model), dumps(state.to_json()))
        return state

    def _record(self, state: State, what: chain.What, *, origin: str, to: str, reason: str) -> str:
        """Add a line to the audit log, once however often it is tried; the new head of its chain."""
        lines = self.audit(state.model)
        entry = chain.Entry(
            time=self._clock.now(),
            who=self._author.name,
            what=what,
            environment=self._name,
            model=state.model,
            origin=origin,
            to=to,
            reason=reason,
            run=self._author.run,
        )
        last = (chain.entries(lines[-1:]) or [{}])[0]
        said = (last.get("what"), last.get("from"), last.get("to"))
        if lines and chain.head(lines) != state.head and said == (what, origin, to):
            # Written by a run that was killed before it could write so into the state.
            return chain.head(lines)
        line = chain.append(lines, entry)
        self._engine.append(_log(state.model), line)
        return chain.head([line])


@dataclass(frozen=True)
class _Ended:
    state: State
    why: str
    """Why it was undone; empty when it was not."""


class _Held:
    """A lock that is taken again where the proxy, in which it lives, began anew."""

    def __init__(self, host: Host, model: str) -> None:
        self._host, self._model = host, model
        self.lock = host.take(model)

    def check(self, state: State) -> None:
        """Go on only as the one who has the lock, with the state that we know."""
        if self.lock.kept:
            return
        self._host._engine.wait_for_proxy()
        self.lock = self._host.take(self._model)
        if not self._host.same(state):
            raise Refusal(
                f"{self._model} was changed by somebody else while the proxy was away.", do="Look at `mlops status`."
            )


def _why(problem: BaseException) -> str:
    """What went wrong, in a sentence; a bug of ours is a reason to go back like any other."""
    if isinstance(problem, Refusal):
        return problem.what
    if isinstance(problem, KeyboardInterrupt):
        return "interrupted"
    return f"a bug in mlops, {type(problem).__name__}: {problem}"


def _proof_rows(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows that every version brings along: the golden one, and those at the edges of its training data."""
    return [manifest["golden"]["row"], *manifest.get("proof", {}).get("rows", [])]


def _strategy(text: str) -> Strategy:
    found: dict[str, Strategy] = {"rolling": "rolling", "blue-green": "blue-green", "canary": "canary"}
    if text not in found:
        raise Refusal(f"There is no strategy {text[:50]!r}.", do=f"Take one of {', '.join(found)}.")
    return found[text]


def _path(model: str) -> str:
    return f"{STATE}/{model}/state.json"


def _log(model: str) -> str:
    return f"{STATE}/{model}/audit.jsonl"


def _stamp(moment: dt.datetime) -> str:
    return moment.astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
