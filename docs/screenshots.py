"""Pictures of every page for docs/tour.md: `.venv/bin/python docs/screenshots.py`.

It needs the dev packages and Chromium.
Starts the stack with the demo in a temporary folder, signs in as the demo accounts, and writes docs/images/*.png and
docs/tour.md anew.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs/images"
MOST_BYTES = 200_000
SIZE: ViewportSize = {"width": 1280, "height": 800}


@dataclass
class Shot:
    """One picture. `follow` are patterns of addresses: from `path` on, the first link that fits each is followed."""

    name: str
    account: str
    path: str
    sentence: str
    follow: tuple[str, ...] = ()
    press: str = ""  # the text of a button to press at the end
    keys: str = ""  # then, keys to press
    dark: bool = False


PROJECT = "/projects/demo/"
SHOTS = [
    Shot("sign-in", "", "/accounts/login/", "Everybody signs in; what they may do is decided per project."),
    Shot("projects", "admin", "/", "The projects that one is a member of."),
    Shot("overview-annotator", "annotator", PROJECT, "An annotator sees what waits for them and the guideline."),
    Shot("history", "annotator", f"{PROJECT}history/", "What one has submitted, and what came back with a message."),
    Shot("tokens", "admin", "/tokens/", "Tokens for programs that use the API."),
    Shot(
        "labelling",
        "annotator",
        PROJECT,
        "Labelling: one key per step, unsent labels are kept, the rail shows where one is.",
        press="/claim/",
        keys="10-",
    ),
    Shot("labelling-dark", "annotator", PROJECT, "The same in the dark.", press="/claim/", keys="-1", dark=True),
    Shot("overview", "admin", PROJECT, "An admin sees how far the project is and who is waiting for what."),
    Shot(
        "import", "admin", f"{PROJECT}import/", "A file is checked first, and every bad line is named with its place."
    ),
    Shot("jobs", "admin", f"{PROJECT}jobs/", "Background work with its progress."),
    Shot("job", "admin", f"{PROJECT}jobs/", "One job: what it did, what it said.", follow=(r"^/jobs/\d+/$",)),
    Shot("trajectories", "reviewer", f"{PROJECT}trajectories/", "All trajectories, to search and sort."),
    Shot(
        "trajectory",
        "reviewer",
        f"{PROJECT}trajectories/",
        "One trajectory with everything that was said about it.",
        follow=(r"/trajectories/\d+/$",),
    ),
    Shot("reviews", "reviewer", f"{PROJECT}reviews/", "Trajectories with disputed steps, the worst first."),
    Shot(
        "review",
        "reviewer",
        f"{PROJECT}reviews/",
        "A reviewer decides exactly the disputed steps.",
        press="/reviews/claim/",
    ),
    Shot("agreement", "reviewer", f"{PROJECT}agreement/", "How far people agree, step by step, with intervals."),
    Shot(
        "annotators",
        "reviewer",
        f"{PROJECT}agreement/annotators/",
        "How each annotator works, and what calls for a look.",
    ),
    Shot("models", "admin", f"{PROJECT}models/", "Models that rate steps, and what a run of one would take."),
    Shot(
        "run",
        "admin",
        f"{PROJECT}models/",
        "A run of a model: its pace, its workers, what could not be scored.",
        follow=(r"^/prelabel-runs/\d+/$",),
    ),
    Shot(
        "trajectory-models",
        "admin",
        f"{PROJECT}trajectories/?q=sample-calls-03",
        "What every model says of each step, beside what people said.",
        follow=(r"/trajectories/\d+/$", r"/trajectories/\d+/models/$"),
    ),
    Shot("raters", "admin", f"{PROJECT}raters/", "Models ranked against gold, with what they confuse."),
    Shot(
        "reliability",
        "admin",
        f"{PROJECT}raters/reliability/",
        "How often each person and model is right, per value and over time, beside what they had no part in.",
    ),
    Shot("beliefs", "admin", f"{PROJECT}beliefs/", "What all raters together are taken to say, and how right that is."),
    Shot("selection", "admin", f"{PROJECT}selection/", "Rounds choose what people get next, and say what that bought."),
    Shot(
        "acceptance",
        "admin",
        f"{PROJECT}acceptance/",
        "Labels of models become gold only under a promise that a blind sample proves and an audit watches.",
    ),
    Shot(
        "learning",
        "admin",
        f"{PROJECT}learning/",
        "The project's scorer learns as gold comes in; what that bought.",
    ),
    Shot("suggestions", "admin", f"{PROJECT}hints/", "What suggestions do to people's labels, by the arm they drew."),
    Shot("members", "admin", f"{PROJECT}members/", "Members, their roles, and invitations by link."),
    Shot("guideline", "admin", f"{PROJECT}guideline/", "The guideline and its versions."),
    Shot("settings", "admin", f"{PROJECT}settings/", "The rules of a project, each with its explanation."),
    Shot("audit", "admin", f"{PROJECT}audit/", "Who did what to which object, when."),
    Shot("releases", "admin", f"{PROJECT}releases/", "Releases and the policy of the next one."),
    Shot(
        "release",
        "admin",
        f"{PROJECT}releases/",
        "A release: its counts, its agreement and its files with their hashes.",
        follow=(r"^/releases/\d+/$",),
    ),
    Shot(
        "compare",
        "admin",
        f"{PROJECT}releases/",
        "Two releases compared: which steps changed and why.",
        follow=(r"^/releases/\d+/compare/\d+/$",),
    ),
]


def main() -> None:
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        sys.exit("There is no Chromium on the PATH (Debian: apt-get install chromium).")
    IMAGES.mkdir(exist_ok=True)
    with stack() as (address, passwords), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        publish_again(browser, address, passwords)
        taken = [shot for shot in SHOTS if take(browser, address, passwords, shot)]
        browser.close()
    write_tour(taken)


@contextmanager
def stack() -> Iterator[tuple[str, dict[str, str]]]:
    """The stack on a free port with data of its own: its address, and the demo accounts with their passwords."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    own = {"DATABASE_URL", "REDIS_URL", "SECRET_KEY", "HOST"}
    with tempfile.TemporaryDirectory(prefix="stepmark-tour-") as home:
        environment = {name: value for name, value in os.environ.items() if name not in own}
        environment |= {"STEPMARK_HOME": home, "PORT": str(port)}
        output = Path(home) / "output"
        with output.open("w") as out:
            process = subprocess.Popen(
                [sys.executable, "manage.py", "run_stack"], cwd=ROOT, env=environment, stdout=out, stderr=out
            )
        try:
            deadline = time.monotonic() + 120
            while "Ctrl-C stops everything" not in output.read_text():
                if process.poll() is not None or time.monotonic() > deadline:
                    sys.exit(f"The stack did not start:\n{output.read_text()}")
                time.sleep(0.3)
            accounts = re.findall(r"^  (?:annotator|reviewer|admin) +(\S+) / (\S+)$", output.read_text(), re.MULTILINE)
            yield f"http://127.0.0.1:{port}", dict(accounts)
        finally:
            process.terminate()
            process.wait(90)


def signed_in(browser: Browser, address: str, passwords: dict[str, str], account: str, *, dark: bool = False) -> Page:
    context = browser.new_context(viewport=SIZE, color_scheme="dark" if dark else "light", reduced_motion="reduce")
    page = context.new_page()
    if account:
        page.goto(f"{address}/accounts/login/")
        page.fill("input[name=username]", account)
        page.fill("input[name=password]", passwords[account])
        page.click("main button")
    return page


def publish_again(browser: Browser, address: str, passwords: dict[str, str]) -> None:
    """A second release, so that there are two to compare: this one stops at the first error."""
    page = signed_in(browser, address, passwords, "admin")
    page.goto(f"{address}{PROJECT}releases/")
    page.select_option("select[name=error_view]", "stop_at_first")
    page.click("main form button.primary")
    page.wait_for_load_state("networkidle")
    page.context.close()


def take(browser: Browser, address: str, passwords: dict[str, str], shot: Shot) -> bool:
    """Writes the picture; False, with a line that says why, where the page is not there."""
    page = signed_in(browser, address, passwords, shot.account, dark=shot.dark)
    try:
        answer = page.goto(address + shot.path)
        if answer is None or answer.status != 200:
            say(f"{shot.name}: {shot.path} answers {answer.status if answer else 'nothing'}; left out.")
            return False
        for pattern in shot.follow:
            links = [link.get_attribute("href") or "" for link in page.locator("main a[href]").all()]
            found = next((link for link in links if re.search(pattern, link)), None)
            if found is None:
                say(f"{shot.name}: {page.url} has no link that fits {pattern}; left out.")
                return False
            page.goto(address + found)
        if shot.press:
            page.locator(f"main form[action$='{shot.press}'] button").first.click()
            page.wait_for_load_state("networkidle")
        for key in shot.keys:
            page.keyboard.press(key)
        if shot.keys:
            page.wait_for_timeout(500)  # until the labels are saved
        path = IMAGES / f"{shot.name}.png"
        page.screenshot(path=path)
        if path.stat().st_size >= MOST_BYTES:  # long texts: the upper half has to do
            page.screenshot(path=path, clip={"x": 0, "y": 0, "width": SIZE["width"], "height": 480})
        if path.stat().st_size >= MOST_BYTES:
            sys.exit(f"{path} has {path.stat().st_size} bytes; at most {MOST_BYTES} are wanted.")
        say(f"{shot.name}: {path.stat().st_size // 1000} kB")
        return True
    finally:
        page.context.close()


def write_tour(shots: list[Shot]) -> None:
    lines = ["# A tour in pictures", "", "Made by `docs/screenshots.py` from the demo of `make run`.", ""]
    for shot in shots:
        title = shot.name.replace("-", " ").capitalize()
        lines += [f"## {title}", "", shot.sentence, "", f"![{title}](images/{shot.name}.png)", ""]
    (ROOT / "docs/tour.md").write_text("\n".join(lines), encoding="utf-8")


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
