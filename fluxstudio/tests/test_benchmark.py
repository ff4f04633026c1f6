"""What the bench promises: fair draws, right arithmetic, every failure counted, every shortfall told."""

import io
import json
import re
import resource
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from fluxstudio.benchmark import loadgen, machine, mix, plan, plot, report, targets
from fluxstudio.benchmark.counters import Counters, Namespace, Queries, add, difference, read_counters
from fluxstudio.benchmark.loadgen import Observed
from fluxstudio.benchmark.options import BenchError, Load, Options, parse_clients
from fluxstudio.benchmark.results import Report, Side, combine_rounds, quantile, summarise
from fluxstudio.benchmark.world import Membership, World

BUSY, PACED = Load(clients=100), Load(clients=1000, requests_per_client_s=1)


@pytest.fixture
def world() -> World:
    """Forty users in ten projects: user 1 owns all, the others view three each and edit one."""
    memberships = {1: [Membership(project_id=project, role="owner") for project in range(1, 11)]}
    for user in range(2, 41):
        roles = ("viewer", "viewer", "viewer", "editor")
        memberships[user] = [
            Membership(project_id=(user + place) % 10 + 1, role=role) for place, role in enumerate(roles)
        ]
    everybody = [(user, place.project_id) for user, places in memberships.items() for place in places]
    members = {project: [user for user, there in everybody if there == project] for project in range(1, 11)}
    return World(
        users=list(memberships),
        memberships=memberships,
        members=members,
        assets={project: [100 * project + number for number in range(5)] for project in range(1, 10)},
        cursors={project: [1000 * project - 50, 1000 * project - 100] for project in range(1, 10)},
        newest={project: 1000 * project for project in range(1, 10)},
        words={project: ["river", "lantern"] for project in range(1, 11)},
        slugs=["first", "second", "third"],
    )


def observed(latencies_us: dict[str, list[int]], **other: object) -> Observed:
    answered = sum(map(len, latencies_us.values()))
    given: dict[str, object] = {
        "latencies_us": latencies_us,
        "statuses": {kind: {"200": len(values)} for kind, values in latencies_us.items()},
        "timeouts": 0,
        "socket_errors": {},
        "unanswered": 0,
        "answered": answered,
        "sent": answered,
        "wrapped": 0,
        "window_s": 2.0,
        "cpu_s": 1.0,
        "run_s": 4.0,
    }
    return msgspec.convert(given | other, type=Observed)


def counted(*, reads: int, hits: int = 0, misses: int = 0) -> Counters:
    cache = {"user": Namespace(hits=hits, misses=misses), "session": Namespace(hits=900)} if hits else {}
    return Counters(requests=1000, queries=Queries(reads=reads, writes=50), cache=cache)


def make_side(name: str, *, latency_us: int, counters: Counters, **other: object) -> Side:
    seen = observed({mix.LIST_PROJECTS: [latency_us] * 99, mix.SEARCH: [4 * latency_us]}, **other)
    loads = {load.key: combine_rounds(load, [(seen, counters)]) for load in (BUSY, PACED)}
    return Side(name=name, use_redis=name != "before", loads=loads)


@pytest.fixture
def made_up() -> Report:
    before = make_side("before", latency_us=90_000, counters=counted(reads=2000))
    after = make_side("after", latency_us=6_000, counters=counted(reads=100, hits=95, misses=5))
    names = (
        "cpu",
        "cores",
        "memory",
        "system",
        "python",
        "postgresql",
        "valkey",
        "granian",
        "node",
        "autocannon",
    )
    parameters: dict[str, object] = {
        "size": "small",
        "workers": 2,
        "rounds": 1,
        "seconds": 2.0,
        "warmup_requests": 4000,
    }
    return Report(
        date="2026-01-02",
        machine={name: f"<{name}>" for name in names},
        parameters=parameters,
        before=before,
        after=after,
        targets=targets.judge(before, after),
    )


def test_zipf_rank_r_comes_one_rth_as_often_as_the_first() -> None:
    weights = mix.zipf_weights(10_000)
    assert weights[0] == 1.0
    assert weights[9] - weights[8] == pytest.approx(0.1)
    assert weights[99] / weights[-1] == pytest.approx(0.53, abs=0.01)


def test_visitors_are_drawn_by_rank_from_all_users_and_are_the_same_each_time(world: World) -> None:
    asks = plan.draw(world, (), seed="a", count=40_000)
    assert asks == plan.draw(world, (), seed="a", count=40_000)
    times = Counter(ask.user_id for ask in asks)
    assert times[1] / times.total() == pytest.approx(1 / mix.zipf_weights(40)[-1], abs=0.05)
    assert len(times) == 40


def test_with_online_all_visits_are_made_by_those(world: World) -> None:
    online = plan.draw_online(world, count=3, seed="a")
    assert online == plan.draw_online(world, count=3, seed="a")
    assert {ask.user_id for ask in plan.draw(world, online, seed="a", count=400)} == set(online)


def test_the_mix_adds_up_and_five_percent_of_it_are_writes() -> None:
    assert sum(mix.MIX.values()) == pytest.approx(1.0)
    assert sum(mix.MIX[kind] for kind in mix.WRITES) == pytest.approx(0.05)
    assert [kind for kind in mix.KINDS if not kind.startswith("GET ")] == list(mix.WRITES)


def test_requests_are_drawn_in_the_shares_of_the_mix(world: World) -> None:
    kinds = Counter(ask.kind for ask in plan.draw(world, world.users, seed="a", count=20_000))
    for kind, share in mix.MIX.items():
        assert kinds[kind] / kinds.total() == pytest.approx(share, abs=0.012)


def test_the_same_seed_draws_the_same_requests_and_another_seed_others(world: World) -> None:
    first = plan.draw(world, world.users, seed="a", count=400)
    assert first == plan.draw(world, world.users, seed="a", count=400)
    assert first != plan.draw(world, world.users, seed="b", count=400)


def test_nobody_asks_for_what_they_may_not_see_or_change(world: World) -> None:
    for ask in plan.draw(world, world.users, seed="a", count=20_000):
        mine = {place.project_id: place for place in world.memberships[ask.user_id]}
        if found := re.match(r"/api/projects/(\d+)", ask.path):
            place = mine[int(found[1])]
            assert place.may_write or ask.kind not in (mix.POST_MESSAGE, mix.UPDATE_PROJECT)
        elif found := re.match(r"/api/assets/(\d+)", ask.path):
            assert any(int(found[1]) in world.assets.get(project, ()) for project in mine)
        elif found := re.match(r"/api/users/(\d+)", ask.path):
            assert any(int(found[1]) in world.members[project] for project in mine)


def test_who_has_nothing_to_write_to_still_writes(world: World) -> None:
    viewer = replace(world, memberships={7: [Membership(project_id=10, role="viewer")]}, users=[7])
    kinds = Counter(ask.kind for ask in plan.draw(viewer, [7], seed="a", count=10_000))
    assert sum(kinds[kind] for kind in mix.WRITES) / kinds.total() == pytest.approx(0.05, abs=0.01)
    assert kinds[mix.POST_MESSAGE] == 0


def test_a_visit_is_one_users_and_a_bound_request_carries_that_users_session(world: World) -> None:
    asks = plan.draw(world, world.users, seed="a", count=200)
    visits = [asks[start : start + mix.VISIT] for start in range(0, len(asks), mix.VISIT)]
    assert all(len({ask.user_id for ask in visit}) == 1 for visit in visits)
    cookies = {user: f"session=of-{user}" for user in world.users}
    bound = plan.bind(asks, cookies)
    for ask, request in zip(asks, bound.requests, strict=True):
        public = ask.kind == mix.SHOWCASE
        assert request.cookie == -1 if public else bound.cookies[request.cookie] == cookies[ask.user_id]


def test_counters_of_several_workers_add_up_and_subtract(tmp_path: Path) -> None:
    one = Counters(
        requests=10, queries=Queries(reads=20, writes=1), cache={"user": Namespace(hits=3, misses=1)}
    )
    two = Counters(requests=5, queries=Queries(reads=7), cache={"search": Namespace(misses=2, loads=2)})
    (tmp_path / "11.json").write_bytes(msgspec.json.encode(one))
    (tmp_path / "12.json").write_bytes(msgspec.json.encode(two))
    both = read_counters(tmp_path)
    assert both == add(one, two)
    assert (both.requests, both.queries.reads, both.reads_per_1000()) == (15, 27, 1800)
    left = difference(both, one)
    assert (left.requests, left.queries, left.cache["search"]) == (5, two.queries, two.cache["search"])
    assert left.cache["user"].hit_rate is None


def test_the_hit_rate_is_told_with_and_without_sessions() -> None:
    counters = counted(reads=0, hits=50, misses=50)
    assert counters.hit_rate(sessions=False) == 0.5
    assert counters.hit_rate(sessions=True) == 0.95
    assert Counters().hit_rate(sessions=True) is None


def test_what_the_response_cache_misses_and_a_service_has_is_no_miss() -> None:
    spaces = {"http": Namespace(hits=60, misses=40), "projects": Namespace(hits=30, misses=10)}
    assert Counters(cache=spaces).hit_rate(sessions=False) == 0.9


def test_a_statistics_file_that_is_none_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "11.json").write_text('{"requests": "many"}')
    with pytest.raises(BenchError, match=r"11\.json"):
        read_counters(tmp_path)


def test_a_quantile_is_a_value_that_was_measured() -> None:
    hundred = list(range(1, 101))
    assert [quantile(hundred, fraction) for fraction in (0.0, 0.5, 0.95, 0.99, 1.0)] == [1, 50, 95, 99, 100]
    assert quantile([7], 0.5) == 7
    assert summarise([]) is None


def test_rounds_are_pooled_and_their_errors_added() -> None:
    fast = observed({mix.SEARCH: [1000] * 60}, timeouts=1)
    slow = observed({mix.SEARCH: [9000] * 40}, statuses={mix.SEARCH: {"200": 40, "503": 2}}, unanswered=3)
    result = combine_rounds(BUSY, [(fast, counted(reads=100)), (slow, counted(reads=300))])
    assert result.overall is not None
    assert (result.overall.p50_ms, result.overall.p95_ms, result.overall.count) == (1.0, 9.0, 100)
    assert (result.requests_per_s, result.requests_per_s_by_round) == (25.0, [30.0, 20.0])
    assert result.reads_per_1000 == 200
    assert result.errors == {
        "timeout": 1,
        f"{mix.SEARCH} → 503": 2,
        "connection closed without an answer": 3,
    }


def test_each_target_is_judged_and_what_falls_short_is_printed_so(made_up: Report) -> None:
    verdicts = {target.name: target.met for target in made_up.targets}
    assert verdicts["hit rate at 100 clients, sessions not counted"]
    assert verdicts["read queries saved at 100 clients"]
    assert not verdicts["p50 at 100 clients, no pause between requests"]
    assert verdicts["p99 at 100 clients, no pause between requests"]
    console = Console(width=120, record=True, file=io.StringIO())
    report.print_report(made_up, console)
    lines = [line for line in console.export_text().splitlines() if "FALLS SHORT" in line]
    assert len(lines) == 2
    assert all("6.0 ms" in line and "< 5 ms" in line for line in lines)


def test_a_slip_is_a_target_missed() -> None:
    before = make_side("before", latency_us=1000, counters=counted(reads=1000))
    after = make_side("after", latency_us=1000, counters=counted(reads=101, hits=89, misses=11), timeouts=1)
    missed = {target.name for target in targets.judge(before, after) if not target.met}
    assert missed == {
        "hit rate at 100 clients, sessions not counted",
        "read queries saved at 100 clients",
        "errors at 100 clients, after",
    }


def test_the_report_is_json_that_reads_back_markdown_and_a_picture(made_up: Report, tmp_path: Path) -> None:
    plot.draw(made_up, tmp_path / "x.png")
    as_json, as_markdown = report.write_report(made_up, tmp_path, "x", plot="x.png")
    assert msgspec.json.decode(as_json.read_bytes(), type=Report) == made_up
    text = as_markdown.read_text()
    assert "| 100 clients | 50 → 50 | 1.0× | 90.0 → 6.00 | 15× |" in text
    assert "![" in text
    assert "(x.png)" in text
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


def test_options_that_cannot_be_say_what_can() -> None:
    with pytest.raises(BenchError, match="small, medium, large"):
        Options(size="huge").checked()
    with pytest.raises(BenchError, match="1,100,1000"):
        parse_clients("1,many")
    with pytest.raises(BenchError, match="from 1 up"):
        Options(clients=(0,)).checked()
    assert parse_clients("1, 100,1000") == (1, 100, 1000)


@pytest.fixture
def open_files() -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.usefixtures("open_files")
def test_the_limit_of_open_files_is_raised_or_its_lack_told() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (300, hard))
    machine.allow_open_files(1000)
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= 1000
    with pytest.raises(BenchError, match="ulimit -Hn"):
        machine.allow_open_files(hard)


def test_without_node_the_bench_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BenchError, match="Node 20 or newer"):
        loadgen.install(tmp_path)


def test_the_lock_pins_every_package_and_names_no_registry() -> None:
    folder = Path(loadgen.__file__).parent / "load"
    packages = json.loads((folder / "package-lock.json").read_text())["packages"]
    packages.pop("")
    assert len(packages) > 10
    assert all("integrity" in package and "resolved" not in package for package in packages.values())
