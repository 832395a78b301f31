"""`AsyncModelCache`: the same cache, awaited; one thread for a herd of tasks, and nothing left behind by one that goes."""

import asyncio
import inspect
import os
import threading

import pytest
from support import FILE, REPO, finish, pattern

import model_cache
from model_cache import AsyncModelCache, DownloadInProgressError, ModelCache, NotFoundError, OfflineMissError
from model_cache.threads import Threads
from stress.sweep.living import open_below

BIG = pattern(3_000_000)


@pytest.fixture
def served(hub):
    """A hub that has a large file and two small ones."""
    hub.add_repo(REPO, {FILE: BIG, "config.json": b"{}", "other.bin": pattern(90_000, 4)})
    return hub


@pytest.fixture
def cache(root, served):
    """An awaited cache on the loopback hub."""
    return AsyncModelCache(root, endpoint=served.url, token=False)


def running(name):
    """How many threads of this name there are."""
    return sum(thread.name == name for thread in threading.enumerate())


async def until(condition):
    """Wait in the loop until a condition holds, bounded."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)


async def held(hub, hold, count=1):
    """Wait, without stopping the loop, until the hub holds so many answers back."""
    await until(lambda: hold.held >= count)


def test_every_method_of_a_cache_can_be_awaited():
    """The two classes have the same public names; the loop's own thread answers only where nothing is touched."""
    names = {name for name in dir(ModelCache) if not name.startswith("_")}
    assert names == {name for name in dir(AsyncModelCache) if not name.startswith("_")}
    plain = {name for name in names if not inspect.iscoroutinefunction(getattr(AsyncModelCache, name))}
    assert plain == {"root", "path", "lease", "open"}
    assert model_cache.AsyncModelCache is AsyncModelCache


def test_importing_the_package_loads_no_asyncio(spawn):
    """Who does not use it does not pay for it; a name that is not there is told as such."""
    code = """
    assert "asyncio" not in sys.modules and "concurrent.futures" not in sys.modules
    assert not hasattr(model_cache, "Asynchronous")
    model_cache.AsyncModelCache
    print("asyncio" in sys.modules)
    """
    assert finish(spawn(code)) == "True"


def test_a_file_is_fetched_and_then_recognised_in_the_loop(cache, served, root):
    """The second time no thread has a part in it: one `stat` answers."""

    async def main():
        assert not await cache.is_cached(REPO, FILE)
        path = await cache.fetch(REPO, FILE)
        assert path == root / REPO / FILE == cache.path(REPO, FILE)
        cache._looks = cache._works = cache._background = None  # whoever asked for a thread would fail
        assert [await cache.fetch(REPO, FILE) for _ in range(3)] == [path] * 3
        return path.read_bytes()

    assert asyncio.run(main()) == BIG
    assert served.body_gets() == 1


def test_a_hundred_tasks_that_miss_one_file_wait_for_one_thread(cache, served):
    """One body GET, a hundred paths, the loop's own executor untouched, and the loop runs meanwhile (I2)."""

    async def main():
        loop = asyncio.get_running_loop()
        with served.hold(FILE) as hold:
            tasks = [asyncio.create_task(cache.fetch(REPO, FILE)) for _ in range(100)]
            await held(served, hold)
            await until(lambda: not running("model-cache look"))
            assert (running("model-cache download"), running("model-cache work")) == (1, 0)
            assert loop._default_executor is None
            assert await cache.fetch(REPO, "config.json") and not any(task.done() for task in tasks)
            hold.release()
            return set(await asyncio.gather(*tasks))

    assert len(asyncio.run(main())) == 1
    assert served.body_gets(FILE) == 1


def test_one_cancelled_task_leaves_the_download_to_the_others(cache, served):
    """Of ten that wait one is cancelled: nine paths, one body GET, no byte twice."""

    async def main():
        with served.hold(FILE, after=0.5) as hold:
            tasks = [asyncio.create_task(cache.fetch(REPO, FILE)) for _ in range(10)]
            await held(served, hold)
            tasks[0].cancel()
            with pytest.raises(asyncio.CancelledError):
                await tasks[0]
            hold.release()
            return await asyncio.gather(*tasks[1:])

    assert len(asyncio.run(main())) == 9
    assert (served.body_gets(FILE), served.body_bytes(FILE)) == (1, len(BIG))


def test_a_download_that_all_have_left_goes_on_for_the_next_one(cache, served):
    """Every task is cancelled; the file comes all the same, and whoever asks next joins or finds it."""

    async def main():
        with served.hold(FILE, after=0.5) as hold:
            tasks = [asyncio.create_task(cache.fetch(REPO, FILE)) for _ in range(5)]
            await held(served, hold)
            for task in tasks:
                task.cancel()
            assert all(
                isinstance(one, asyncio.CancelledError) for one in await asyncio.gather(*tasks, return_exceptions=True)
            )
            hold.release()
            return await cache.fetch(REPO, FILE)

    assert asyncio.run(main()).read_bytes() == BIG
    assert (served.body_gets(FILE), served.body_bytes(FILE)) == (1, len(BIG))


def test_a_loop_that_ends_waits_for_no_download_and_another_one_joins_it(cache, served):
    """`asyncio.run` comes back while the body is held; the next loop's task gets the same download."""
    with served.hold(FILE, after=0.5) as hold:

        async def leave():
            asyncio.create_task(cache.fetch(REPO, FILE))  # noqa: RUF006 - the end of the loop cancels it
            await held(served, hold)

        asyncio.run(leave())
        hold.release()
    assert asyncio.run(cache.fetch(REPO, FILE)).read_bytes() == BIG
    assert served.body_bytes(FILE) == len(BIG)


def test_a_program_that_ends_in_mid_download_ends_at_once_and_the_next_one_resumes(served, root, spawn):
    """No thread keeps the interpreter; what had arrived by then is not fetched again (I10)."""
    code = f"""
    import asyncio
    async def main():
        cache = model_cache.AsyncModelCache(arguments["root"], endpoint=arguments["endpoint"], token=False)
        task = asyncio.create_task(cache.fetch("{REPO}", "{FILE}"))
        print("begun", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
    asyncio.run(main())
    """
    with served.hold(FILE, after=0.5) as hold:
        process = spawn(code)
        hold.wait_for(1)
        process.stdin.write("go\n")
        process.stdin.flush()
        assert finish(process) == "begun"
    assert ModelCache(root, endpoint=served.url, token=False).fetch(REPO, FILE).read_bytes() == BIG
    assert served.body_gets(FILE) == 2 and served.body_bytes(FILE) < 2 * len(BIG)


def test_a_task_with_little_time_is_told_how_far_it_is(cache, served):
    """`timeout` ends the wait and not the download; no thread is spent on the wait."""

    async def main():
        with served.hold(FILE, after=0.5) as hold:
            first = asyncio.create_task(cache.fetch(REPO, FILE))
            await held(served, hold)
            await until(lambda: any(one.stat().st_size for one in (cache.root / ".model-cache" / "partial").iterdir()))
            results = await asyncio.gather(
                *(cache.fetch(REPO, FILE, timeout=0.05) for _ in range(50)), return_exceptions=True
            )
            hold.release()
            await first
            return results

    results = asyncio.run(main())
    assert {type(one) for one in results} == {DownloadInProgressError}
    assert all(one.total == len(BIG) and 0 < one.done < len(BIG) for one in results)
    assert served.body_gets(FILE) == 1


def test_errors_are_those_of_a_cache(cache, served):
    """A file that the Hub has not, and a miss offline, for each of those who wait."""

    async def main():
        found = await asyncio.gather(*(cache.fetch(REPO, "absent") for _ in range(5)), return_exceptions=True)
        assert {type(one) for one in found} == {NotFoundError}
        with pytest.raises(OfflineMissError):
            await cache.fetch(REPO, FILE, offline=True)
        with pytest.raises(model_cache.InvalidNameError):
            await cache.fetch(REPO, "../x")
        with pytest.raises(model_cache.SettingError):
            await cache.fetch(REPO, FILE, timeout=-1)

    asyncio.run(main())


def test_a_lease_is_held_for_the_block_and_let_go_however_it_ends(cache, root, served):
    """Nobody removes the file in the block; after an error or a cancellation in it nothing is held (I3)."""
    other = ModelCache(root, endpoint=served.url, token=False)

    async def block(entered, leave):
        async with cache.lease(REPO, FILE) as path:
            entered.set()
            await leave.wait()
            return path

    async def main():
        for end in ("returns", "raises", "is cancelled"):
            entered, leave = asyncio.Event(), asyncio.Event()
            task = asyncio.create_task(block(entered, leave))
            await entered.wait()
            assert [one.reason for one in other.remove(REPO, FILE).in_use] == ["leased"]
            if end == "returns":
                leave.set()
                assert await task == root / REPO / FILE
            else:
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            assert f"{REPO}/{FILE}" not in open_below(root)
        lease = await cache.lease(REPO, FILE)
        assert other.remove(REPO, FILE).in_use
        lease.release()

    asyncio.run(main())
    assert len(other.remove(REPO, FILE).removed) == 1


def test_an_open_file_is_read_and_let_go(cache, root):
    """`async with cache.open` gives a binary file."""

    async def main():
        async with cache.open(REPO, FILE) as file:
            assert await asyncio.to_thread(file.read) == BIG
        assert file.closed and f"{REPO}/{FILE}" not in open_below(root)

    asyncio.run(main())


@pytest.mark.parametrize("moment", ["while the file comes", "while the lease is taken"])
def test_a_lease_that_comes_for_a_task_that_has_gone_is_let_go(moment, root, served):
    """Cancelled before it was handed the lease: no descriptor is left open, no lease held."""
    inside, go_on = threading.Event(), threading.Event()

    class Slow(ModelCache):
        def lease(self, *args, **options):
            inside.set()
            assert go_on.wait(30)
            return super().lease(*args, **options)

    cache = AsyncModelCache(root, endpoint=served.url, token=False)
    if moment == "while the lease is taken":
        cache._cache = Slow(root, endpoint=served.url, token=False)

    async def main():
        with served.hold(FILE, after=0.5) as hold:
            task = asyncio.create_task(cache.lease(REPO, FILE).__aenter__())
            await held(served, hold)
            if moment == "while the file comes":
                task.cancel()
            hold.release()
            if moment != "while the file comes":
                await until(inside.is_set)
                task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            go_on.set()
        await cache.fetch(REPO, FILE)
        await until(lambda: not running("model-cache work") and not running("model-cache download"))

    asyncio.run(main())
    assert f"{REPO}/{FILE}" not in open_below(root)


def test_a_whole_repo_for_many_tasks_is_fetched_once(cache, served, root):
    """Those that want the same wait for one thread; a part of it by patterns is another wish."""

    async def main():
        found = await asyncio.gather(*(cache.fetch_repo(REPO) for _ in range(40)))
        part = await cache.fetch_repo(REPO, include=["*.json"], workers=2)
        return {*found, part}

    assert asyncio.run(main()) == {root / REPO}
    assert served.body_gets() == 3


def test_the_upkeep_is_that_of_a_cache(cache, served, root, tmp_path):
    """Pins, entries, usage, verify, gc, lock files, update, removal: each with the report that the method has."""

    async def main():
        await cache.fetch_repo(REPO)
        assert len(await cache.entries()) == 3 and (await cache.usage()).files == 3
        assert len(await cache.pin(REPO, FILE)) == len(await cache.unpin(REPO, FILE)) == 1
        assert (await cache.verify(REPO)).exit_code() == 0
        assert len(await cache.lock(REPO, output=tmp_path / "models.lock")) == 3
        assert (await cache.sync(tmp_path / "models.lock")).downloaded == 0
        assert (await cache.verify_lock(tmp_path / "models.lock")).ok == 3
        assert not (await cache.update(REPO))[0].updated
        assert (await cache.reconcile()).adopted == []
        assert (await cache.gc(max_size="1TB", dry_run=True)).evicted == []
        assert len((await cache.remove(REPO, FILE)).removed) == 1

    asyncio.run(main())
    assert repr(cache) == f"AsyncModelCache('{root}')"


def test_what_has_not_begun_is_not_begun_for_a_task_that_has_gone(cache, root):
    """A cancelled task's work that still waits for a thread is dropped."""
    cache._works = Threads(1, "model-cache work", lambda: None)
    entered, go_on = threading.Event(), threading.Event()

    def occupy():
        entered.set()
        assert go_on.wait(30)

    async def main():
        busy = cache._works.submit(occupy)
        task = asyncio.create_task(cache.gc(max_size=0))
        await until(lambda: entered.is_set() and cache._works._waiting)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go_on.set()
        await asyncio.wrap_future(busy)
        await until(lambda: not running("model-cache work"))

    asyncio.run(main())
    assert not root.exists()


def test_a_forked_child_has_threads_of_its_own(cache, served, root):
    """A download that the parent has under way is not waited for in vain in a child."""

    async def parent(hold):
        task = asyncio.create_task(cache.fetch(REPO, FILE))
        await held(served, hold)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                # In a new thread: the child's copy of the running loop is not to be used.
                outcome = []
                thread = threading.Thread(target=lambda: outcome.append(asyncio.run(cache.fetch(REPO, "config.json"))))
                thread.start()
                thread.join(30)
                code = 0 if outcome and outcome[0].read_bytes() == b"{}" else 2
            finally:
                os._exit(code)
        _, status = await asyncio.to_thread(os.waitpid, child, 0)
        hold.release()
        await task
        return os.waitstatus_to_exitcode(status)

    with served.hold(FILE, after=0.5) as hold:
        assert asyncio.run(parent(hold)) == 0


def test_a_lower_root_answers_tasks_too(served, root, tmp_path):
    """One file and a whole repo that are below are handed out from there."""
    below = tmp_path / "layer"
    ModelCache(below, endpoint=served.url, token=False).fetch_repo(REPO)
    served.reset()
    cache = AsyncModelCache(root, endpoint=served.url, token=False, lower=[below])

    async def main():
        return [await cache.fetch(REPO, FILE), await cache.fetch(REPO, FILE), await cache.fetch_repo(REPO)]

    assert asyncio.run(main()) == [below / REPO / FILE, below / REPO / FILE, below / REPO]
    assert served.requests == []
