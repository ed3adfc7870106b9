"""What the documentation says is so: links lead somewhere, names exist, defaults are the defaults, samples run."""

from __future__ import annotations

import ast
import inspect
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest
from django.template import engines
from django.urls import NoReverseMatch, reverse

import immortus_channels
from immortus_channels import urls
from immortus_channels.api.repository import JobHandle, JobRepository
from immortus_channels.conf import Settings
from immortus_channels.templatetags import immortus
from immortus_channels.testing import recorded_jobs
from tests.pages_of_docs import DOCS, PAGES, README, ROOT, Page, Sample, page

PACKAGE = ROOT / "immortus_channels"
STATIC = PACKAGE / "static" / "immortus_channels"
REFERENCE = [one for one in PAGES if one.path.parent.name == "reference"]
REQUIREMENTS = Page(ROOT / "tests" / "requirements.md")
HOW_IT_WORKS = page("how-it-works.md")

urlpatterns = [*urls.immortus_jobs()]
pytestmark = pytest.mark.urls(__name__)

PENDING: set[str] = set()
"""What the pages tell of and the code has not got yet; a name that has come must leave this list."""


def is_pending(name: str) -> bool:
    return any(name == one or name.startswith(f"{one}.") for one in PENDING)


PYTHON = {
    "immortus_channels": "tracked current_job get_job aget_job get_strategy started_by TrackingStrategy JobHandle "
    "JobHandler JobRepository JobState JobFailed JobCancelled render_immortus job_info job_page_url revoke_access "
    "access_token",
    "immortus_channels.access": "can_cancel",
    "immortus_channels.celery": "TrackedTask",
    "immortus_channels.urls": "immortus_jobs",
    "immortus_channels.metrics": "read samples Sample",
    "immortus_channels.routing": "websocket_application websocket_urlpatterns",
    "immortus_channels.middleware": "JobOwnerMiddleware",
    "immortus_channels.celery.TrackedTask": "tracking_strategy job_id strategy delay_on_commit apply_async_on_commit",
    "immortus_channels.JobHandle": "track update set_meta set_result data checkpoint job_id id attempt params "
    "strategy cancel_requested set_progress_metric state document owner cancel page_url get_absolute_url "
    "complete fail running arunning acomplete afail acancel refresh arefresh",
    "immortus_channels.JobRepository": "create find acreate afind",
    "immortus_channels.JobState": "find task afind all aall filter afilter",
    "immortus_channels.JobHandler": "header message next_url on_ready on_failed failed_url",
    "immortus_channels.TrackingStrategy": "job_enqueued job_started job_finished job_failed job_retrying job_cancelled "
    "job_lost allows allows_cancel job publish_meta",
}
"""The public names, by what has them."""
WORDS = {
    "python.md": "strategy handler params mask cancel publish_result",
    "strategies.md": "completed meta status fetch",
    "project.md": "immortus_jobs immortus:verify immortus:cancel immortus:token immortus:job immortus:health "
    "immortus:metrics immortus_script immortus_job immortus_doctor prune_jobs",
    "javascript.md": "Immortus.configure prefix websocket csrfToken token Immortus.create Immortus.verify "
    "Immortus.watch Immortus.cancel JobState.startPolling jobUuid pollingPeriod update success error JobState.killJob "
    "data.job_state transport polling.interval signal job_id job_class verify_job_url status body stop AbortError",
}
"""Names that are no objects of Python, by the reference page that tells of them."""


# What the README says happens


def test_the_readmes_task_shows_what_it_says():
    (sample,) = [one for one in README.samples if one.language == "python" and "Sorting" in one.text]
    with recorded_jobs() as jobs, JobRepository().create(id="readme").running():
        exec(sample.text, {"rows": ["a", "b", "c", "d"]})
    assert jobs.seen("readme", "message") == ["", "Reading", "Sorting"]
    sorting = [document for document in jobs.of("readme") if document["message"] == "Sorting"]
    assert {document["percentage"] for document in sorting} == {40.0}
    end = jobs.last("readme")
    assert (end["state"], end["percentage"]) == ("failed", 40.0)
    assert end["error"] == {"code": "bad_row", "message": "Row 7 has no date."}
    assert (end["preview"], end["result"]) == ("/media/preview.jpg", {"rows": 120})


# Links


@pytest.mark.parametrize("one", [README, *PAGES], ids=str)
def test_each_link_leads_somewhere(one):
    broken = [link for link in one.links if not leads_somewhere(one, link)]
    assert broken == []


def leads_somewhere(one: Page, link: str) -> bool:
    if re.match(r"https?://", link):
        return True
    path, _, anchor = link.partition("#")
    target = (one.path.parent / path).resolve() if path else one.path
    return target.exists() and (not anchor or anchor in Page(target).anchors)


def test_each_page_is_in_the_navigation():
    told = re.findall(r"^\s*- (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    assert sorted(told) == sorted(one.path.relative_to(DOCS).as_posix() for one in PAGES)


# How it works


def test_each_room_that_a_page_names_is_there():
    named = {room for one in PAGES for room in re.findall(r"`(immortus_channels/[\w/]+/)`", one.prose)}
    assert sorted(room for room in named if not (ROOT / room).is_dir()) == []


def test_each_room_has_a_sentence():
    told = {row[0].strip("`").split("/")[1] for row in HOW_IT_WORKS.rows if row[0].startswith("`immortus_channels/")}
    doors = {"management", "migrations", "static", "templates", "templatetags"}
    folders = {folder.name for folder in PACKAGE.iterdir() if folder.is_dir() and folder.name != "__pycache__"}
    assert told == folders - doors


def test_the_walk_of_a_change_enters_at_most_nine_files_and_each_once():
    walk = [row[1].strip("`") for row in HOW_IT_WORKS.rows if row[0].isdigit()]
    assert len(walk) == len(set(walk)) <= 9
    assert [name for name in walk if not (ROOT / name).is_file()] == []
    assert walk[0].endswith("worker_signals.py")
    assert walk[-1].endswith("immortus.js")


# Settings


def defaults(one: Page) -> dict[str, object]:
    cells = {row[0].strip("`"): row[1].strip("`") for row in one.rows if row[0].startswith("`IMMORTUS_")}
    return {name: ast.literal_eval(value) for name, value in cells.items()}


def test_each_setting_stands_with_its_true_default_and_no_other():
    true = {f"IMMORTUS_{name}": vars(Settings)[name] for name in Settings.__annotations__}
    assert defaults(page("reference/settings.md")) == true


@pytest.mark.parametrize("one", [README, *PAGES], ids=str)
def test_no_page_speaks_of_a_setting_that_does_not_exist(one):
    assert {name for name in re.findall(r"IMMORTUS_([A-Z_]+)", one.text) if name not in vars(Settings)} == set()


# Checks


def check_ids() -> set[str]:
    sources = [file.read_text() for file in PACKAGE.rglob("*.py")]
    return {found for text in sources for found in re.findall(r'(?:\{ID\}|immortus_channels)\.([EIW]\d{3})"', text)}


def test_each_check_is_told_and_no_other():
    told = [row[0].strip("`").removeprefix("immortus_channels.") for row in page("reference/checks.md").rows]
    assert len(told) == len(set(told))
    assert set(told) - {name.removeprefix("immortus_channels.") for name in PENDING} == check_ids()


def test_no_page_speaks_of_a_check_that_is_not_told():
    told = {row[0].strip("`")[-4:] for row in page("reference/checks.md").rows}
    assert {found for one in PAGES for found in re.findall(r"\b[EIW]0\d\d\b", one.prose)} <= told


# The reference


def told_in_reference() -> set[str]:
    """What is generated from docstrings: each object and each listed one of a module, with its public names."""
    told: set[str] = set()
    for one in REFERENCE:
        listed = re.findall(r"^::: (\S+)\n(?:    .*\n)*?      members: \[(.+)\]", one.prose, re.MULTILINE)
        told |= {*one.objects, *(f"{home}.{name}" for home, names in listed for name in names.split(", "))}
    return told | {f"{name}.{member}" for name in told if not is_pending(name) for member in dir(find(name))}


PUBLIC = [f"{home}.{name}" for home, names in PYTHON.items() for name in names.split()]
WITHOUT_DOCSTRING = {
    "immortus_channels.celery.TrackedTask.tracking_strategy",
    "immortus_channels.JobHandle.job_id",
    "immortus_channels.JobState.task",
}
"""Plain attributes: told in a sentence."""
HOMES_OF_GLANCE = [f"immortus_channels{home}" for home in ("", ".access", ".celery", ".urls", ".metrics")]


@pytest.mark.parametrize("name", PUBLIC)
def test_each_public_name_of_python_is_in_the_reference(name):
    if name in WITHOUT_DOCSTRING:
        assert f"`{name.rpartition('.')[2]}`" in page("reference/python.md").prose
    elif not is_pending(name) or name.count(".") == 1:
        assert name in told_in_reference()


def at_a_glance(name: str) -> list[str]:
    """The first cells of the tables under that heading, which say with one line each what the page has at length."""
    (section,) = re.findall(r"^## At a glance\n(.*?)^## ", page(f"reference/{name}").text, re.MULTILINE | re.DOTALL)
    return re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)


GLANCED = [
    *((line, HOMES_OF_GLANCE) for line in at_a_glance("python.md")),
    *((line, ["immortus_channels.TrackingStrategy"]) for line in at_a_glance("strategies.md")),
]


def object_of(line: str, homes: list[str]) -> str:
    """The dotted name that a line at a glance speaks of."""
    names = [f"{home}.{line.partition('(')[0]}" for home in homes]
    return next(name for name in names if name in PUBLIC)


def signature_of(name: str) -> str:
    """The arguments of a callable as the pages write them: without types and `self`."""
    parameters = inspect.signature(find(name)).parameters.values()
    told = [p.replace(annotation=p.empty) for p in parameters if p.name != "self" and p.annotation != "Never"]
    return str(inspect.Signature(told)).replace(str(JobHandle), "JobHandle")


@pytest.mark.parametrize(("line", "homes"), GLANCED, ids=lambda value: value if isinstance(value, str) else "")
def test_what_is_said_at_a_glance_is_the_true_signature(line, homes):
    name = object_of(line, homes)
    if "(" in line:
        assert line.removeprefix(line.partition("(")[0]) == signature_of(name)
    else:
        assert name in WITHOUT_DOCSTRING or not callable(find(name)) or isinstance(find(name), type)


def test_the_glance_tells_each_public_name_but_those_of_the_project_page():
    told = [object_of(line, homes) for line, homes in GLANCED]
    elsewhere = {name for name in PUBLIC if re.match(r"immortus_channels\.(routing|middleware)\.", name)}
    assert sorted(told) == sorted(set(PUBLIC) - elsewhere)


def test_the_package_offers_no_name_that_the_reference_leaves_out():
    offered = {f"immortus_channels.{name}" for name in immortus_channels.__all__}
    assert offered <= told_in_reference()


@pytest.mark.parametrize(("name", "word"), [(name, word) for name, words in WORDS.items() for word in words.split()])
def test_each_other_public_name_is_in_the_reference(name, word):
    assert re.search(rf"`[^`\n]*\b{re.escape(word)}\b[^`\n]*`", page(f"reference/{name}").prose)


def test_each_function_of_the_client_is_in_the_reference():
    for file, name in (("immortus.js", "Immortus"), ("job-state.js", "JobState")):
        functions = functions_of(file, name)
        assert all(f"`{name}.{one}(" in page("reference/javascript.md").text for one in functions)


# Names


def find(name: str) -> object:
    """The object of a dotted name. Raises ImportError or AttributeError."""
    home, rest = name, ""
    while True:
        try:
            found: object = import_module(home)
        except ModuleNotFoundError as error:
            if not f"{home}.".startswith(f"{error.name}.") or "." not in home:
                raise
            home, _, last = home.rpartition(".")
            rest = f"{last}.{rest}".strip(".")
        else:
            for part in filter(None, rest.split(".")):
                found = getattr(found, part)
            return found


def functions_of(file: str, name: str) -> set[str]:
    """The functions of a browser file's one global."""
    (listed,) = re.findall(rf"globalThis\.{name} = \{{ (.+) \}};", (STATIC / file).read_text())
    return set(listed.split(", "))


def declared_in_javascript() -> set[str]:
    """The options and keys that the browser's files declare, and those within one as `outer.inner`."""
    declarations = "".join(file.read_text() for file in STATIC.glob("*.d.ts"))
    names = set(re.findall(r"^    (?:readonly )?(\w+)\??:", declarations, re.MULTILINE))
    nested = re.findall(r"(\w+)\?: \{ (\w+)\??:", declarations)
    return names | {f"{outer}.{inner}" for outer, inner in nested}


def is_url(name: str) -> bool:
    for arguments in ({}, {"job_id": "x"}):
        try:
            reverse(name, kwargs=arguments)
        except NoReverseMatch:
            continue
        return True
    return False


def exists(name: str) -> bool:
    """Whether there is such a dotted name, tag, function of the client, setting, URL, check or test file."""
    for pattern, is_there in KINDS.items():
        if found := re.fullmatch(pattern, name):
            return is_there(*found.groups())
    return is_object(name)


KINDS: dict[str, Callable[..., bool]] = {
    r"(tests/.+)": lambda path: (ROOT / path).is_file(),
    r"(immortus:\w+)": is_url,
    r"IMMORTUS_(\w+)": lambda name: name in vars(Settings),
    r"{% (\w+) %}": lambda tag: tag in immortus.register.tags,
    r"Immortus\.(\w+)": lambda name: name in functions_of("immortus.js", "Immortus"),
    r"JobState\.(\w+)": lambda name: name in functions_of("job-state.js", "JobState"),
    r"immortus_channels\.([EIW]\d{3})": lambda name: name in check_ids(),
    r"((?!immortus_channels)\w+(?:\.interval)?)": lambda name: name in declared_in_javascript(),
}
"""What a name in backticks may stand for, by how it looks; everything else is an object of Python."""


def is_object(name: str) -> bool:
    try:
        find(name)
    except (ImportError, AttributeError):
        return False
    return True


def test_what_has_come_is_not_pending_any_more():
    assert [name for name in sorted(PENDING) if exists(name)] == []


# The requirement table


def requirements() -> list[list[str]]:
    return list(REQUIREMENTS.rows)


def test_the_requirements_are_numbered_and_no_cell_is_empty():
    assert [row[0] for row in requirements()] == [str(n) for n in range(1, len(requirements()) + 1)]
    assert [row for row in requirements() if len(row) != 4 or not all(row)] == []


@pytest.mark.parametrize("row", requirements(), ids=lambda row: row[0])
def test_what_serves_a_requirement_can_be_found(row):
    served, tested = (re.findall(r"`([^`]+)`", cell) for cell in row[2:])
    assert served
    assert tested
    assert all(name.startswith("tests/") for name in tested)
    assert [name for name in [*served, *tested] if not is_pending(name) and not exists(name)] == []


@pytest.mark.parametrize("row", requirements(), ids=lambda row: row[0])
def test_what_tests_a_requirement_speaks_of_what_serves_it(row):
    served, tested = (re.findall(r"`([^`]+)`", cell) for cell in row[2:])
    words = {re.split(r"[.:]", name.strip("{% }"))[-1] for name in served}
    texts = [file.read_text() for name in tested for file in files_behind(name)]
    assert any(re.search(rf"\b{re.escape(word)}\b", text) for word in words for text in texts), words


def files_behind(name: str) -> list[Path]:
    """A test's file; of one in tests/seeds also what it runs."""
    seeds = ROOT / "tests" / "seeds"
    return (
        [ROOT / name, *seeds.rglob("*.py"), *seeds.rglob("*.html")] if seeds in (ROOT / name).parents else [ROOT / name]
    )


# Samples


def samples(language: str) -> list[tuple[Page, Sample]]:
    return [(one, sample) for one in (README, *PAGES) for sample in one.samples if sample.language == language]


def test_each_sample_names_its_language():
    assert [(str(one), sample.text) for one, sample in samples("")] == []


@pytest.mark.parametrize(("one", "sample"), samples("python"), ids=str)
def test_each_python_sample_compiles(one, sample):
    compile(sample.text, str(one), "exec")


@pytest.mark.parametrize(("one", "sample"), samples("html"), ids=str)
def test_each_template_compiles(one, sample):
    engines["django"].from_string(sample.text.replace("job_state=True", ""))


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node: apt install nodejs")
def test_each_javascript_sample_can_be_parsed(tmp_path):
    for number, (_, sample) in enumerate(samples("js")):
        (tmp_path / f"{number}.mjs").write_text(sample.text)
    files = sorted(map(str, tmp_path.iterdir()))
    errors = [subprocess.run(["node", "--check", file], capture_output=True, text=True).stderr for file in files]  # noqa: PLW1510
    assert [error for error in errors if error] == []


PRELUDE = """
import celery, django
from django.conf import settings
settings.configure(
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "immortus_channels"],
    SECRET_KEY="for samples", USE_TZ=True, IMMORTUS_STORE={"BACKEND": "memory"},
)
celery.Celery("docs", set_as_current=True).conf.update(task_always_eager=True)
django.setup()
"""
UNDER_A_TEST_RUNNER = "from django.test.utils import setup_test_environment as _set_up; _set_up()\n"


@pytest.mark.parametrize("one", [one for one in PAGES if any(s.runs for s in one.samples)], ids=str)
def test_the_marked_samples_of_a_page_run_one_after_the_other(one):
    text = "\n".join(sample.text for sample in one.samples if sample.runs)
    imported = re.findall(r"^from \S+ import (.+)$", text, re.MULTILINE)
    used = {*re.findall(r"\.(\w+)", text), *re.findall(r"\w+", " ".join(imported))}
    waits_for = [name for name in sorted(PENDING) if name.rpartition(".")[2] in used]
    if waits_for:
        pytest.skip(f"waits for {', '.join(waits_for)}")
    prelude = PRELUDE + UNDER_A_TEST_RUNNER * (one.path.stem == "testing")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", prelude + text], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


# The site


needs_mkdocs = pytest.mark.skipif(
    find_spec("mkdocs") is None, reason="needs MkDocs: pip install 'immortus-channels[docs]' (`make docs` does it)"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` does."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@needs_mkdocs
@pytest.mark.slow
def test_the_site_has_each_page_and_each_object(site):
    for one in PAGES:
        html = (site / one.path.relative_to(DOCS).with_suffix(".html")).read_text()
        objects = [name for name in one.objects if not isinstance(find(name), ModuleType)]
        assert [name for name in objects if f'id="{name}"' not in html] == []


@needs_mkdocs
@pytest.mark.slow
def test_the_site_has_each_public_name_of_python(site):
    reference = "".join((site / "reference" / f"{one.path.stem}.html").read_text() for one in REFERENCE)
    wanted = [name for name in PUBLIC if name not in WITHOUT_DOCSTRING and not is_pending(name)]
    assert [name for name in wanted if f'id="{name}"' not in reference] == []


@needs_mkdocs
@pytest.mark.slow
def test_reading_the_site_asks_no_other_server(site):
    loaded = r"<(?:script|img|iframe)[^>]+src=\"(?:https?:)?//|<link[^>]+rel=\"?stylesheet[^>]+(?:https?:)?//"
    assert [str(file) for file in site.rglob("*.html") if re.search(loaded, file.read_text())] == []


# What the pages say of safety is done where it is shown


def test_no_sample_leads_to_an_address_that_a_task_published_unchecked():
    shown = [one.text for one in [README, *PAGES]]
    shown += [file.read_text() for file in (ROOT / "example").rglob("*.js")]
    shown += [file.read_text() for file in (ROOT / "example").rglob("*.html")]
    unchecked = re.compile(r"location(?:\.href)?\s*=\s*\w+\.|location\.(?:assign|replace)\(\w+\.|href[:=]\s*\w+\.re")
    assert [found for text in shown for found in unchecked.findall(text)] == []


def test_the_compose_file_has_the_flags_that_security_demands():
    demanded = re.findall(r"Run Uvicorn with `([^`]+)`", (ROOT / "SECURITY.md").read_text())
    command = " ".join((ROOT / "docker-compose.yml").read_text().split())
    assert "uvicorn config.asgi:application" in command
    assert [flags for flags in demanded if flags not in command] == []
    assert demanded
