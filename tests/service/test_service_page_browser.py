"""The page in a real Chromium: log in, plan, submit, follow, cancel, read usage; desktop and phone.

.venv/bin/python -m pytest -m slow tests/service/test_service_page_browser.py
"""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
import time

import pytest
from service_help import add_tenant

SERVER = """
import sys
from pathlib import Path
from opendojo.service.serve import Serving, serve
serve(Serving(root=Path(sys.argv[1]), port=int(sys.argv[2]), chips=2, tick_s=0.05,
      program=(sys.executable, "-u", "-c", sys.argv[3])), lambda secret: None)
"""
RUN = """
import json, os, time
os.makedirs("run", exist_ok=True)
with open("run/metrics.jsonl", "a", buffering=1) as file:
    for step in range(1, 2000):
        loss = 9 / step
        file.write(json.dumps({"step": step, "loss_total": loss, "frames_per_s": 40 + step % 7,
                               "<b>lr": 1e-4}) + "\\n")
        print(f"step {step}: loss {loss:.3f} <script>alert(1)</script>")
        time.sleep(0.1)
"""
PHONE = {"width": 375, "height": 740}


@pytest.fixture(scope="module")
def chromium():
    reason = "not exercised: {} is not installed here"
    play = pytest.importorskip("playwright.sync_api", reason=reason.format("playwright"))
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip(reason.format("Chromium"))
    with play.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def served(tmp_path):
    """Address, the first organisation's token, and the database behind them."""
    from opendojo.service import Database, migrate

    root = tmp_path / "root"
    root.mkdir()
    migrate(f"sqlite:///{root}/service.db")
    database = Database(f"sqlite:///{root}/service.db")
    budgets = {"budget_micro": 5_000_000, "price_micro": 2_000_000, "budget_chip_ms": 3_600_000}
    tenant, secret = add_tenant(database, "Night drives", **budgets)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-c", SERVER, str(root), str(port), RUN]
    server = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        assert server.poll() is None and time.monotonic() < end
        time.sleep(0.1)
    yield f"http://127.0.0.1:{port}", secret, database, tenant
    server.terminate()
    server.wait()
    database.close()


def _watched(browser, address, **settings):
    """A page whose requests and complaints are kept."""
    page = browser.new_context(**settings).new_page()
    asked, complaints = [], []
    page.on("request", lambda one: asked.append(one.url))
    page.on("console", lambda one: complaints.append(one.text) if one.type == "error" else None)
    page.on("pageerror", lambda one: complaints.append(str(one)))
    page.set_default_timeout(30_000)
    page.goto(address)
    return page, asked, complaints


def _login(page, secret):
    page.wait_for_selector("#token:focus")  # by itself
    page.keyboard.type(secret)
    page.keyboard.press("Enter")
    page.wait_for_selector("#counts")


def _until(true):
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def _wide(page):
    """How far the page is wider than the screen."""
    return page.evaluate("document.documentElement.scrollWidth - window.innerWidth")


def _nameless(page):
    """Controls that a screen reader could not name."""
    return page.evaluate("""[...document.querySelectorAll('input,select,button,meter')].filter(
        e => e.type !== 'hidden' && !e.hidden && !(e.labels && e.labels.length) &&
             !e.getAttribute('aria-label') && !e.textContent.trim()).map(e => e.outerHTML)""")


def _tab_to(page, text, most=40):
    """Press Tab until what has the focus says that."""
    for _ in range(most):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent").strip() == text:
            return
    raise AssertionError(f"Tab never comes to {text!r}")


def _submit_by_keyboard(page):
    """Plans, then submits, without a mouse; gives the job's id."""
    _tab_to(page, "Submit")
    page.keyboard.press("Enter")
    page.wait_for_selector("#command")
    page.keyboard.press("Control+A")
    page.keyboard.type('train town --note "two words"')
    page.keyboard.press("Enter")  # plans: nothing is submitted by accident
    page.wait_for_selector("#plan")
    assert "start at once" in page.inner_text("#plan")
    assert "currency" in page.inner_text("#plan")
    _tab_to(page, "Plan")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector("#log")
    return re.search(r"job_[0-9a-f]+", page.url)[0]  # type: ignore[index]


@pytest.mark.slow
def test_a_visitor_plans_submits_follows_cancels_and_reads_usage(chromium, served, tmp_path):
    from opendojo.service.client import Client

    address, secret, _, _ = served
    page, asked, complaints = _watched(chromium, address, viewport={"width": 1200, "height": 900})
    page.screenshot(path=tmp_path / "login.png")
    _login(page, secret)
    job = _submit_by_keyboard(page)
    page.evaluate("window.same = true")
    _until(lambda: page.inner_text("#state") == "running")
    _until(lambda: "step 12:" in page.inner_text("#log"))
    page.wait_for_selector("#charts svg polyline")
    lines = page.inner_text("#charts figure >> nth=0")
    points = page.get_attribute("#charts polyline >> nth=0", "points")
    assert lines.startswith("loss total") and page.locator("#charts figure").count() == 3
    _until(lambda: page.get_attribute("#charts polyline >> nth=0", "points") != points)
    page.screenshot(path=tmp_path / "running.png", full_page=True)
    client = Client(address, secret)
    assert client.job(job)["command"] == ["train", "town", "--note", "two words"]
    log = "".join(client.logs(job))
    shown = page.inner_text("#log")
    assert shown[:200] == log[:200] and "<script>alert(1)</script>" in shown
    page.focus("#cancel summary")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("window.same"), "the page was loaded again: it was not live"
    page.keyboard.press("Enter")
    _until(lambda: page.inner_text("#state") == "cancelled")
    assert client.job(job)["state"] == "cancelled"
    page.reload()
    assert page.inner_text("#events li >> nth=-1").split()[2] == "cancelled"
    page.screenshot(path=tmp_path / "cancelled.png", full_page=True)
    used = client.usage("job")[0]
    page.click("text=Usage")
    told = page.inner_text("#usage")
    assert f"{used['chip_ms'] / 3_600_000:,.4f} h" in told and "5.00 currency" in told
    assert f"{used['money_micro'] / 1e6:,.6f}" in page.inner_text("main")
    page.screenshot(path=tmp_path / "usage.png", full_page=True)
    page.click("text=Machines")
    assert "0 of 2 chips held" in page.inner_text("#machine")
    page.screenshot(path=tmp_path / "machines.png", full_page=True)
    page.click("text=Log out")
    page.wait_for_selector("#token")
    client.close()
    assert all(one.startswith(address) or one == "data:," for one in asked), asked
    assert complaints == []


@pytest.mark.slow
def test_it_is_at_ease_with_10_000_jobs_and_on_a_phone(chromium, served, tmp_path):
    from opendojo.service.models import Job

    address, secret, database, tenant = served
    _fill(database, tenant, 10_000)
    page, asked, complaints = _watched(chromium, address, viewport=PHONE)
    _login(page, secret)
    assert page.inner_text("#counts").split("\n")[0] == "6,000 succeeded"
    rows = lambda: page.locator("#list tbody tr").count()  # noqa: E731
    ids = lambda: page.locator("#list tbody code:not(.command)").all_inner_texts()  # noqa: E731
    first, seen = ids(), set()
    assert rows() == 100
    page.screenshot(path=tmp_path / "phone-jobs.png")
    for _ in range(3):
        seen |= set(ids())
        page.click("text=Older")
    assert len(seen) == 300 and seen.isdisjoint(ids())
    page.click("text=Newer")
    page.click("text=Newest")
    assert ids() == first
    page.fill("#text", "train nr-1234")
    page.press("#text", "Enter")
    page.wait_for_url("**text=train**")
    assert rows() == 1
    page.goto(f"{address}/?state=failed")
    assert rows() == 100 and set(page.locator("#list .state").all_inner_texts()) == {"failed"}
    with database.reading() as session:
        job = session.query(Job).filter_by(state="failed").first().id
    for where in ("/", "/submit", "/usage", "/machines", f"/jobs/{job}"):
        page.goto(f"{address}{where}")
        assert _wide(page) <= 0, f"{where} is wider than a phone"
        assert _nameless(page) == [], where
        name = where.strip("/").split("_")[0].replace("/", "-") or "jobs"
        page.screenshot(path=tmp_path / f"phone-{name}.png", full_page=where != "/")
    page.set_viewport_size({"width": 1200, "height": 900})
    page.goto(address)
    page.screenshot(path=tmp_path / "jobs.png")
    assert all(one.startswith(address) or one == "data:," for one in asked), asked
    assert complaints == []


@pytest.mark.slow
def test_it_can_be_used_without_script(chromium, served):
    address, secret, _, _ = served
    page, _, _ = _watched(chromium, address, java_script_enabled=False)
    _login(page, secret)
    page.click("text=Submit")
    page.click("button[value=plan]")
    assert "start at once" in page.inner_text("#plan")
    page.click("button[value=submit]")
    end = time.monotonic() + 30
    while page.inner_text("#state") != "running" or "step 1" not in page.inner_text("#log"):
        assert time.monotonic() < end
        page.reload()
    page.click("summary")
    page.click("text=Cancel this job")
    while page.inner_text("#state") != "cancelled":
        assert time.monotonic() < end
        page.reload()


def _fill(database, tenant, count):
    """Ended jobs, one a second."""
    from sqlalchemy import insert, select

    from opendojo.service.models import Job, Project, User

    states = ("succeeded", "succeeded", "succeeded", "failed", "cancelled")
    with database.writing() as session:
        project = session.scalars(select(Project.id).where(Project.tenant_id == tenant)).one()
        user = session.scalars(select(User.id).where(User.tenant_id == tenant)).one()
        session.execute(insert(Job), [
            {"id": f"job_{number:016x}", "tenant_id": tenant, "project_id": project,
             "user_id": user, "key": f"k{number}", "digest": "", "chips": 1 + number % 8,
             "command": ["train", f"nr-{number}", "--net.size", "small"], "limit_s": 60,
             "priority": 0, "retries": 0, "preemptible": True, "state": states[number % 5],
             "submitted_ms": 1_790_000_000_000 + 1000 * number, "changed_ms": 0, "workers": 1,
             "inputs": {}, "attempts": 1, "failures": 0}
            for number in range(count)])  # fmt: skip
