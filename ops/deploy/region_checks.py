"""What can be known of one region before anything is deployed there."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import partial

from ops.deploy import limits, names
from ops.deploy.cell_template import NoBounds, bounds_of, reserved_concurrency
from ops.deploy.facts import CloudError, Stack
from ops.deploy.limits import Finding, Level
from ops.deploy.ports import Cloud, Region
from ops.deploy.settings import Wanted
from ops.deploy.states import Move, next_move, remedy


def region_findings(wanted: Wanted, cloud: Cloud, region: str) -> list[Finding]:
    """All looks; one that fails to answer says so and hides no other."""
    here = cloud.region(region)
    found: list[Finding] = []
    for look in (_stacks, partial(_stage, cloud), _gpus, _functions, _network, _livekit):
        try:
            found += look(wanted, here)
        except CloudError as error:
            found.append(no_answer(error))
    return found


def state_finding(stack: Stack | None, region: str) -> Iterable[Finding]:
    """Whether a deploy may touch the stack as it stands."""
    if stack is None:
        return
    move = next_move(stack)
    if move is Move.REFUSE:
        yield Finding(
            Level.MISSING,
            f"{region}: {stack.name} is {stack.status} ({stack.reason or 'no reason was given'})",
            remedy(stack.status, stack.name, region),
        )
    elif move is Move.REPLACE:
        yield Finding(
            Level.NOTE,
            f"{region}: {stack.name} is {stack.status}: it never came to be",
            "it is removed and made anew; nothing to do",
        )


def no_answer(error: CloudError) -> Finding:
    """A look that was not possible."""
    return Finding(
        Level.MISSING,
        f"it could not be looked up: {error}",
        "see that these credentials may make that call, and run it again",
    )


def _cell(wanted: Wanted, here: Region) -> Stack | None:
    return here.stacks.find(names.cell_stack(wanted.cell(here.name)))


def _is_new(stack: Stack | None) -> bool:
    return next_move(stack) in (Move.CREATE, Move.REPLACE)


def _stacks(wanted: Wanted, here: Region) -> Iterable[Finding]:
    cell = wanted.cell(here.name)
    for name in (names.artifacts_stack(cell), names.livekit_stack(cell), names.cell_stack(cell)):
        yield from state_finding(here.stacks.find(name), here.name)


def _stage(cloud: Cloud, wanted: Wanted, here: Region) -> Iterable[Finding]:
    """The home does not move by itself, and no cell is forgotten."""
    stack = _cell(wanted, here)
    if stack is None:
        return
    home = stack.parameters.get("HomeRegion")
    if home and home != wanted.home:
        yield Finding(
            Level.MISSING,
            f"{stack.name}: its home is {home}, where the sessions' history and the keys are, "
            f"not {wanted.home}",
            f"give --home {home}",
        )
    for one in json.loads(stack.parameters.get("Peers") or "[]"):
        region, peer = str(one["region"]), names.cell_stack(str(one["cell"]))
        if region not in wanted.regions and cloud.region(region).stacks.find(peer) is not None:
            yield Finding(
                Level.MISSING,
                f"{stack.name}: {peer} belongs to this stage, and its region is not given",
                f"add {region} to --regions, or end that cell first: rapido destroy --stage "
                f"{wanted.stage} --regions {region}",
            )


def _gpus(wanted: Wanted, here: Region) -> Iterable[Finding]:
    yield from limits.type_findings(here.name, here.limits.offered(limits.TYPES))
    stack = _cell(wanted, here)
    image = wanted.worker_image
    if image is None:
        image = stack.parameters.get("WorkerImage", "") if stack else ""
    kept = dict(stack.parameters) if stack else {}
    try:
        bounds = bounds_of(here.name, {**kept, **wanted.extra_of(here.name)})
    except NoBounds as error:
        what, _, todo = str(error).rpartition("; ")
        yield Finding(Level.MISSING, what, todo)
        return
    quotas = [here.limits.quota(q.service, q.code) for q in (limits.ON_DEMAND, limits.SPOT)]
    yield from limits.gpu_findings(here.name, bounds, *quotas, pools=bool(image))
    if not image:
        yield _no_image(wanted, here)


def _no_image(wanted: Wanted, here: Region) -> Finding:
    artifacts = here.stacks.find(names.artifacts_stack(wanted.cell(here.name)))
    images = artifacts.outputs.get("RepositoryUri") if artifacts else None
    return Finding(
        Level.NOTE,
        f"{here.name}: no --worker-image, so that the cell has no GPU workers yet",
        f"push one to {images or 'the repository that the first deploy makes'}, and deploy again "
        "with it",
    )


def _functions(wanted: Wanted, here: Region) -> Iterable[Finding]:
    allowed = here.limits.quota(limits.CONCURRENCY.service, limits.CONCURRENCY.code)
    return limits.concurrency_findings(here.name, allowed, reserved_concurrency(wanted.size))


def _network(wanted: Wanted, here: Region) -> Iterable[Finding]:
    """Only a cell that is new makes a network."""
    if not _is_new(_cell(wanted, here)):
        return ()
    used, vpcs, addresses = here.limits, limits.NETWORKS, limits.ADDRESSES
    return limits.network_findings(
        here.name,
        (used.networks(), used.quota(vpcs.service, vpcs.code)),
        (used.addresses(), used.quota(addresses.service, addresses.code)),
        made=2 if wanted.livekit and wanted.livekit.own else 1,
        gateways=1 if wanted.size == "small" else 3,
    )


def _livekit(wanted: Wanted, here: Region) -> Iterable[Finding]:
    if wanted.livekit is None:
        if _is_new(_cell(wanted, here)):
            yield Finding(
                Level.MISSING,
                f"{here.name}: a new cell has to know where its rooms are",
                "give --livekit URL with --livekit-secret NAME, or --livekit self",
            )
        return
    if wanted.livekit.own:
        return
    name = wanted.livekit.secret
    secret = here.secrets.current(name)
    if secret is None:
        yield Finding(
            Level.MISSING,
            f"{here.name}: there is no secret {name} with LiveKit's keys",
            "make it in one region, then there: aws secretsmanager replicate-secret-to-regions "
            f"--secret-id {name} --add-replica-regions Region={here.name}",
        )
        return
    lacking = {"livekit_api_key", "livekit_api_secret"} - _fields(secret.value)
    if lacking:
        yield Finding(
            Level.MISSING,
            f"{here.name}: secret {name} has no {' and no '.join(sorted(lacking))}",
            'its string has to be JSON: {"livekit_api_key": "…", "livekit_api_secret": "…"}',
        )


def _fields(text: str) -> set[str]:
    try:
        held = json.loads(text)
    except ValueError:
        return set()
    return set(held) if isinstance(held, dict) else set()
