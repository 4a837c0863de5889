"""The documentation is true: generated pages are current, links lead somewhere, and what the README shows works as printed."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from live import LiveCollector

from spanledger_collector.alerts.notify import sign

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_generated_pages_say_what_the_code_says() -> None:
    result = subprocess.run(
        [sys.executable, ROOT / "docs" / "generate.py", "--check"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text("utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_python_in_the_docs_is_python(page: Path) -> None:
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL):
        compile(block, str(page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_every_page_is_reachable_from_the_index() -> None:
    index = ROOT / "docs" / "index.md"
    seen, todo = set[Path](), [index]
    while todo:
        page = todo.pop()
        seen.add(page)
        found = [(page.parent / target).resolve() for target in LINK.findall(page.read_text("utf-8")) if target.endswith(".md")]
        todo += [other for other in found if other not in seen and other not in todo]
    assert set((ROOT / "docs").rglob("*.md")) <= seen


def test_the_architecture_fits_on_a_few_screens() -> None:
    assert (ROOT / "docs" / "ARCHITECTURE.md").read_text().count("\n") <= 250


def test_the_sdk_example_shows_its_interaction(collector: LiveCollector, tmp_path: Path) -> None:
    script = tmp_path / "example.py"
    script.write_text(blocks("python")[0])
    environment = {**os.environ, "SPANLEDGER_ENDPOINT": collector.url, "SPANLEDGER_PROJECT": "readme-sdk"}
    result = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    row = collector.ask(["interactions", "input_tokens", "output_tokens", "cost_usd", "feedback_positive_rate"], "readme-sdk")[0]
    assert (row["interactions"], row["input_tokens"], row["output_tokens"]) == (1, 812, 64)
    assert row["feedback_positive_rate"] == 1.0
    # 300 fresh, 512 cached and 64 output tokens at $2.50, $1.25 and $10.00 a million; the README rounds it.
    assert Decimal(row["cost_usd"]) == Decimal("0.00203")
    assert "$0.00203 at GPT-4o's price" in README


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_curl_examples_work_as_printed(collector: LiveCollector) -> None:
    answers = [curl(block, collector) for block in blocks("sh") if "curl" in block]
    sent, judged, asked, rule = answers
    assert not sent.get("partialSuccess", {}).get("rejectedSpans")
    assert judged["accepted"] == 1
    names = [column["name"] for column in asked["columns"]]
    row = dict(zip(names, asked["rows"][0], strict=True))
    assert (row["model"], row["interactions"], row["feedback_positive_rate"]) == ("gpt-4o-mini", 1, 1.0)
    assert Decimal(row["cost_usd"]) == Decimal("0.00021")
    assert rule["signing_secret"]
    assert rule["threshold"] == "25.00"


def curl(block: str, collector: LiveCollector) -> Any:
    collector.settled()
    script = block.replace("127.0.0.1:4318", f"127.0.0.1:{collector.port}")
    result = subprocess.run(["bash", "-euo", "pipefail", "-c", script], capture_output=True, text=True, check=True)
    answer = json.loads(result.stdout)
    assert "code" not in answer, answer
    return answer


def test_the_signature_check_accepts_ours_and_nothing_else() -> None:
    scope: dict[str, Any] = {}
    exec(blocks("python")[1], scope)
    is_genuine, now = scope["is_genuine"], int(time.time())
    assert is_genuine("secret", sign("secret", b"{}", now), b"{}")
    assert not is_genuine("other", sign("secret", b"{}", now), b"{}")
    assert not is_genuine("secret", sign("secret", b"{}", now), b"{ }")
    assert not is_genuine("secret", sign("secret", b"{}", now - 3_600), b"{}")


# --- docker-compose.yml -------------------------------------------------------------------------------------------------


def parse(lines: list[str]) -> Any:
    """The part of YAML that our compose file uses: nested mappings, lists of scalars or mappings, literal blocks."""
    depth = indent(lines[0])
    if lines[0].lstrip().startswith("- "):
        items: list[list[str]] = []
        for line in lines:
            if indent(line) == depth and line.lstrip().startswith("- "):
                items.append([line.replace("- ", "  ", 1)])
            else:
                items[-1].append(line)
        return [parse(item) if re.match(r"\s*\w+: ", item[0]) else scalar(item[0].strip()) for item in items]
    found: dict[str, Any] = {}
    position = 0
    while position < len(lines):
        match = re.fullmatch(r"( *)([\w-]+):(?: (.+))?", lines[position])
        assert match is not None, lines[position]
        assert len(match[1]) == depth, lines[position]
        assert match[2] not in found, f"{match[2]} twice"
        inner = take_deeper(lines[position + 1 :], depth)
        if match[3] == "|":
            found[match[2]] = "\n".join(inner)
        else:
            assert not (match[3] and inner), lines[position]
            found[match[2]] = parse(inner) if inner else scalar(match[3] or "")
        position += 1 + len(inner)
    return found


def take_deeper(lines: list[str], depth: int) -> list[str]:
    end = next((number for number, line in enumerate(lines) if indent(line) <= depth), len(lines))
    return lines[:end]


def indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def scalar(text: str) -> Any:
    return json.loads(text) if text.startswith(("[", '"')) else text


def test_the_compose_file_is_sound() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    assert "\t" not in text
    file = parse([line for line in text.split("\n") if line.strip() and not line.lstrip().startswith("#")])
    services = file["services"]
    assert set(services) == {"clickhouse", "collector", "dashboard"}
    for name, service in services.items():
        assert service["mem_limit"], name
        assert service["cpus"], name
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), "published on this machine only"
        for other in service.get("depends_on", {}):
            assert "healthcheck" in services[other]
    assert re.fullmatch(r"clickhouse/clickhouse-server:\d+\.\d+(\.\d+)*", services["clickhouse"]["image"])
    assert services["clickhouse"]["ulimits"]["nofile"]["soft"] == "262144"
    assert services["clickhouse"]["volumes"][0].split(":")[0] in file["volumes"]
    assert services["clickhouse"]["configs"][0]["source"] in file["configs"]
    assert "INTERVAL 7 DAY" in file["configs"]["clickhouse_logs"]["content"]
    environment = services["collector"]["environment"]
    assert environment["SPANLEDGER_BOOTSTRAP_KEY"].startswith("${SPANLEDGER_BOOTSTRAP_KEY:?")
    assert environment["SPANLEDGER_CLICKHOUSE_URL"].startswith("http://")
    assert "SPANLEDGER_ENDPOINT" in services["dashboard"]["environment"]
    assert "SPANLEDGER_API_KEY" not in services["dashboard"]["environment"], "whoever reaches it would be an admin"


def test_the_image_copies_what_exists() -> None:
    for line in (ROOT / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY"):
            for source in line.split()[1:-1]:
                assert (ROOT / source).exists(), source
