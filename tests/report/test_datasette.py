"""The copy of the index in the real Datasette."""

import asyncio
import json

import pytest
from support import FILE, REPO, pattern

pytestmark = pytest.mark.engine


@pytest.fixture
def datasette(cache, hub, root, tmp_path, environ):
    """Datasette on a copy of an index, as the command leaves it."""
    import subprocess
    import sys

    app = pytest.importorskip("datasette.app")
    hub.add_repo(REPO, {FILE: pattern(50_000), "other/<b>.bin": pattern(100)})
    for name in (FILE, "other/<b>.bin"):
        cache.fetch(REPO, name)
    copy = tmp_path / "models.db"
    command = [sys.executable, "-m", "model_cache", "--root", str(root), "report", "--database", str(copy)]
    subprocess.run(command, env=environ, check=True, capture_output=True)
    return app.Datasette([str(copy)], metadata=json.loads((tmp_path / "models.datasette.json").read_text()))


def test_each_page_is_there(datasette):
    """The page of the database, of each table and view, and of each query answers 200; the queries have their rows."""

    async def look():
        statuses, rows = {}, {}
        database = datasette.get_database("models")
        names = [*await database.table_names(), *await database.view_names()]
        queries = await datasette.get_canned_queries("models", None)
        for name in ("", *names, *queries):
            statuses[name] = (await datasette.client.get(f"/models/{name}".rstrip("/"))).status_code
        for name in queries:
            answer = await datasette.client.get(f"/models/{name}.json?_shape=array&days=-1")
            statuses[f"{name}.json"], rows[name] = answer.status_code, answer.json()
        statuses["home"] = (await datasette.client.get("/")).status_code
        return statuses, rows

    statuses, rows = asyncio.run(look())
    assert {name: status for name, status in statuses.items() if status != 200} == {}
    assert {"entries", "size_by_repo", "largest_repos", "regret.json"} <= set(statuses)
    assert [(row["repo"], row["files"]) for row in rows["largest_repos"]] == [(REPO, 2)]
    assert {row["filename"] for row in rows["unused_for"]} == {FILE, "other/<b>.bin"}
    assert [(row["kind"], row["events"]) for row in rows["by_day"]] == [("download", 2)]
