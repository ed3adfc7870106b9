"""The files of the browser client: made from js/, small enough, collected by Django, published to npm with types."""

import gzip
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest
from django.contrib.staticfiles.storage import ManifestStaticFilesStorage

from tests.servers import need

ROOT = Path(__file__).parent.parent
STATIC = ROOT / "immortus_channels" / "static" / "immortus_channels"
PACKAGE = json.loads((ROOT / "package.json").read_text())
LOCK = (ROOT / "package-lock.json").read_text()
MADE = [f"{name}{ending}" for name in ("immortus", "immortus.module") for ending in (".js", ".min.js", ".min.js.map")]
INSTALL = "`apt install nodejs npm` and `npm ci --ignore-scripts` install it"
MOST_BYTES = 9_000


def node() -> str:
    return need(shutil.which("node"), "Node", "`apt install nodejs` installs it")


def tool(name: str) -> list[str]:
    """The command of a development dependency of package.json."""
    script = ROOT / "node_modules" / name
    need(str(script) if script.exists() else None, name.partition("/")[0], INSTALL)
    return [node(), str(script)]


def run(*command: str, cwd: Path = ROOT, **options) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=120, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# What the sources make


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    tool("rollup/dist/bin/rollup")
    tool("esbuild/bin/esbuild")
    folder = tmp_path_factory.mktemp("made")
    run(node(), "js/build.js", str(folder))
    return folder


def test_the_sources_make_these_files_and_no_others(made):
    assert sorted(file.name for file in made.iterdir()) == sorted(MADE)


@pytest.mark.parametrize("name", MADE)
def test_a_file_is_exactly_what_the_sources_make(made, name):
    assert (STATIC / name).read_text() == (made / name).read_text(), "run `make js-build` and commit what it makes"


@pytest.mark.parametrize("name", ["immortus.js", "immortus.module.js"])
def test_each_comment_of_the_sources_is_in_the_readable_files(name):
    text = (STATIC / name).read_text()
    for source in sources():
        if name == "immortus.js" and source.name == "module.js":
            continue
        comments = re.findall(r"/\*\*.*?\*/|(?<= )// [^\n]*", source.read_text(), re.DOTALL)
        lines = [line.strip() for comment in comments for line in comment.splitlines() if "@import" not in line]
        imports = [line for line in source.read_text().splitlines() if line.startswith("import ")]
        assert [line for line in lines if line not in text and line not in " ".join(imports)] == [], source.name


def sources() -> list[Path]:
    return [file for file in sorted((ROOT / "js").glob("*.js")) if file.name != "build.js"]


@pytest.mark.parametrize("source", sources(), ids=lambda file: file.stem)
def test_a_source_is_short_enough_to_read_in_one_go(source):
    assert len(source.read_text().splitlines()) <= 160


def test_the_sources_import_each_other_in_one_direction():
    wanted = {
        file.name: set(re.findall(r'^import .*?"\./(.+)";', file.read_text(), re.MULTILINE)) for file in sources()
    }
    while ready := [name for name, others in wanted.items() if not others & wanted.keys()]:
        for name in ready:
            del wanted[name]
    assert wanted == {}


# Minified


@pytest.mark.parametrize("name", ["immortus.min.js", "immortus.module.min.js"])
def test_the_client_is_at_most_9_kb(name):
    assert len(gzip.compress((STATIC / name).read_bytes(), 9)) <= MOST_BYTES


def test_minifying_renames_only_what_pages_and_servers_do_not_use():
    (listed,) = re.findall(r"INTERNAL = \[(.*?)\]", (ROOT / "js" / "build.js").read_text(), re.DOTALL)
    renamed = set(re.findall(r'"(\w+)"', listed))
    declared = re.sub(
        r"/\*.*?\*/|//.*", "", "".join(file.read_text() for file in STATIC.glob("*.d.ts")), flags=re.DOTALL
    )
    golden = "".join(file.read_text() for file in (ROOT / "tests" / "protocol").glob("*.json"))
    assert len(renamed) > 20
    assert renamed & set(re.findall(r"\w+", declared)) == set()
    assert renamed & set(re.findall(r'"(\w+)":', golden)) == set()
    in_sources = "".join(file.read_text() for file in sources())
    assert [name for name in renamed if not re.search(rf"\b{name}\b", in_sources)] == []


@pytest.mark.slow
def test_the_minified_client_does_what_the_readable_one_does():
    names = ("create", "element", "frames", "token", "transports", "verify")
    files = [f"tests/javascript/{name}.test.js" for name in names]
    environment = {"IMMORTUS_SCRIPT": "immortus.min", "PATH": str(Path(node()).parent)}
    assert "# fail 0" in run(node(), "--test", "--test-reporter=tap", *files, env=environment)


@pytest.mark.parametrize("name", ["immortus", "immortus.module"])
def test_a_source_map_leads_to_the_readable_file(name):
    assert (STATIC / f"{name}.min.js").read_text().endswith(f"\n//# sourceMappingURL={name}.min.js.map\n")
    source_map = json.loads((STATIC / f"{name}.min.js.map").read_text())
    assert source_map["sources"] == [f"{name}.js"]
    assert source_map["sourcesContent"] == [(STATIC / f"{name}.js").read_text()]


# Collected by Django


class WithModules(ManifestStaticFilesStorage):
    support_js_module_import_aggregation = True


COLLECT = """
import sys
import django
from django.conf import settings
from django.core.management import call_command
storage, folder = sys.argv[1:]
settings.configure(
    INSTALLED_APPS=[
        "django.contrib.contenttypes", "django.contrib.auth", "django.contrib.staticfiles", "immortus_channels",
    ],
    STATIC_URL="/static/", STATIC_ROOT=folder, STORAGES={"staticfiles": {"BACKEND": storage}}, SECRET_KEY="for a test",
)
django.setup()
call_command("collectstatic", interactive=False, verbosity=0, skip_checks=True)
"""


@pytest.mark.parametrize("storage", [ManifestStaticFilesStorage, WithModules], ids=lambda kind: kind.__name__)
def test_collectstatic_takes_all_files_by_names_with_hashes(storage, tmp_path):
    run(sys.executable, "-c", COLLECT, f"{storage.__module__}.{storage.__qualname__}", str(tmp_path))
    manifest = json.loads((tmp_path / "staticfiles.json").read_text())["paths"]
    for file in STATIC.iterdir():
        assert (tmp_path / manifest[f"immortus_channels/{file.name}"]).is_file()
    for name in ("immortus.min.js", "immortus.module.min.js"):
        collected = tmp_path / manifest[f"immortus_channels/{name}"]
        (url,) = re.findall(r"^//# sourceMappingURL=(.+)$", collected.read_text(), re.MULTILINE)
        assert (collected.parent / url).is_file()
        assert url != f"{name}.map"


# Published


def test_the_package_has_the_version_of_the_python_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    locked = json.loads(LOCK)
    assert PACKAGE["version"] == project["version"] == locked["version"] == locked["packages"][""]["version"]
    assert (PACKAGE["name"], PACKAGE["license"]) == (project["name"], project["license"])


def test_development_dependencies_are_pinned_and_the_lock_names_no_host():
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in PACKAGE["devDependencies"].values())
    assert PACKAGE.keys() & {"dependencies", "peerDependencies", "optionalDependencies"} == set()
    assert "resolved" not in LOCK
    assert "://" not in LOCK
    assert (ROOT / ".npmrc").read_text() == "omit-lockfile-registry-resolved=true\n"


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A folder in which a user has installed the package."""
    npm = need(shutil.which("npm"), "npm", INSTALL)
    folder = tmp_path_factory.mktemp("user")
    (packed,) = json.loads(run(npm, "pack", "--json", "--ignore-scripts", "--pack-destination", str(folder)))
    with tarfile.open(folder / packed["filename"]) as archive:
        archive.extractall(folder, filter="data")
    (folder / "node_modules").mkdir()
    (folder / "package").rename(folder / "node_modules" / "immortus-channels")
    return folder


def test_the_npm_package_holds_the_client_its_types_and_what_it_exports(published):
    home = published / "node_modules" / "immortus-channels"
    files = {str(file.relative_to(home)) for file in home.rglob("*") if file.is_file()}
    static = STATIC.relative_to(ROOT)
    names = {*MADE, "immortus.css", "immortus.d.ts", "immortus.module.d.ts", "job-state.js", "job-state.d.ts"}
    assert files == {"package.json", "README.md", "LICENSE", *(f"{static}/{name}" for name in names)}
    targets = re.findall(r'"(\./.+?)"', json.dumps([*PACKAGE["exports"].values(), PACKAGE["types"]]))
    assert [target for target in targets if not (home / target).is_file()] == []


def test_node_imports_what_is_published(published):
    program = published / "program.mjs"
    program.write_text(
        'import Immortus, { verify } from "immortus-channels";\n'
        'import "immortus-channels/immortus.js";\n'
        "console.log(Immortus.verify === verify, globalThis.Immortus === Immortus);\n"
    )
    assert run(node(), str(program), cwd=published) == "true true\n"


MODULE = """
import Immortus, { create, verify, watch, type JobDocument, type Verification } from "immortus-channels";

const following: Verification<JobDocument> = verify("a", { transport: "auto", polling: { interval: 800 } });
const version: number = (await following).version;
following.then(({ result }) => result, ({ error }) => error.code, ({ percentage }) => percentage?.toFixed()).stop();
for await (const { state } of watch({ job_id: 7 })) if (state === "finished") break;
const job = await create("/x", { width: 3 }).then(null, () => null);
const id: string | number | undefined = job?.job_id;
Immortus.configure({ token: async (ids) => ids.join() });
window.Immortus === Immortus;

// @ts-expect-error: an option that there is not
verify("a", { interval: 5 });
// @ts-expect-error: handlers where the options belong
verify("a", (job: JobDocument) => job.message);
// @ts-expect-error: a handler that cannot be called
following.then(null, null, {});
// @ts-expect-error: no address
create();
// @ts-expect-error: data that is text
create("/x", "width=3");
// @ts-expect-error: a setting that there is not
Immortus.configure({ websockets: false });
// @ts-expect-error: the socket is a path or false
Immortus.configure({ websocket: true });
// @ts-expect-error: a document that is not waited for
following.version;
// @ts-expect-error: a state that there is not
const state: JobDocument["state"] = "done";
// @ts-expect-error: a name that the module does not export
import { poll } from "immortus-channels";
export { id, version, state };
"""

CLASSIC = """
/// <reference types="immortus-channels/immortus.js" />
/// <reference types="immortus-channels/job-state.js" />
Immortus.create("/x").then((job) => job, ({ status }) => status).then((job) => console.log(job));
const quit: () => void = Immortus.verify(5).then(null, null, (job: Immortus.JobDocument) => job.message).stop;
JobState.startPolling({ jobUuid: "a", success: ({ job_state }) => job_state === "success" }).stop();

// @ts-expect-error: a function that there is not
Immortus.follow("a");
// @ts-expect-error: a callback that there is not
JobState.startPolling({ jobUuid: "a", onSuccess: () => {} });
// @ts-expect-error: neither text nor a number
Immortus.verify(true);
"""


@pytest.mark.parametrize("resolution", ["node16", pytest.param("bundler", marks=pytest.mark.slow)])
def test_users_programs_compile_against_the_types_but_their_mistakes_fail(published, resolution):
    project = published / resolution
    project.mkdir()
    (project / "package.json").write_text('{ "type": "module" }')
    (project / "module.ts").write_text(MODULE)
    (project / "classic.ts").write_text(CLASSIC)
    options = {
        "noEmit": True, "strict": True, "target": "es2022", "types": [], "moduleDetection": "legacy",
        "lib": ["es2023", "dom", "dom.iterable", "dom.asynciterable"],
        "module": "node16" if resolution == "node16" else "esnext", "moduleResolution": resolution,
    }  # fmt: skip
    (project / "tsconfig.json").write_text(json.dumps({"compilerOptions": options, "include": ["*.ts"]}))
    run(*tool("typescript/bin/tsc"), "--project", str(project), cwd=published)


@pytest.mark.slow
def test_the_types_of_the_sources_and_of_the_shipped_files_hold():
    run(*tool("typescript/bin/tsc"), "--project", "js")
