"""Settings: every kind of mistake has a file of its own and an exact message; the environment wins."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from exporter.config import AdminConfig, CollectorConfig, Config, MMDConfig, SampleConfig
from exporter.config.loading import load_config, load_with_origins
from exporter.config.types import parse_duration
from exporter.errors import ConfigError
from exporter.receivers.proxy.address import Address

BAD = Path(__file__).parent / "bad_configs"
P = "INFERENCE_EXPORTER__"

# Where a value was set; every message about a file's key ends in it.
_LINE = re.compile(r"^(.+?) \(line (\d+)\): ", re.MULTILINE)
# [name of the file], and its message on the lines that follow.
_ENTRY = re.compile(r"^\[(\w+)\]\n(.+?)\n(?=\n\[|\Z)", re.MULTILINE | re.DOTALL)
MESSAGES = dict(_ENTRY.findall((BAD / "messages.txt").read_text()))


def mistake(source: object = None, **environment: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(source, environment={P + name: value for name, value in environment.items()})
    return str(caught.value)


@pytest.mark.parametrize("path", sorted(BAD.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_bad_file_says_key_value_rule_and_fix(path: Path):
    assert _LINE.sub(r"\1: ", mistake(path).replace(str(path), "FILE")) == MESSAGES[path.stem]


@pytest.mark.parametrize("path", sorted(BAD.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_mistake_in_a_file_names_its_line(path: Path):
    lines = path.read_text("utf-8", "replace").splitlines()
    for message in mistake(path).splitlines():
        found = _LINE.match(message)
        if found is None:
            assert re.match(r"config file .+(, line \d+: |: cannot be read|: holds )", message), message
            continue
        line = lines[int(found[2]) - 1]
        keys = re.findall(r"[a-z_]\w*", found[1])
        assert any(key in line for key in keys) or line.lstrip().startswith("-"), message


def test_every_message_has_its_file():
    assert {path.stem for path in BAD.glob("*.yaml")} == set(MESSAGES)


@pytest.mark.parametrize("word", ["input should", "pydantic", "<class", "Config'", "<learn>"])
def test_no_message_speaks_of_the_types_behind_it(word: str):
    assert not any(word in message for message in MESSAGES.values())


def test_every_message_ends_in_a_fix():
    assert all("; " in line for message in MESSAGES.values() for line in message.splitlines())


def test_no_message_shows_a_secret():
    assert not any("hunter2" in message for message in MESSAGES.values())
    assert "hunter2" not in repr(AdminConfig(token="hunter2hunter2"))


def test_a_missing_file_is_named(tmp_path: Path):
    path = tmp_path / "none.yaml"
    assert mistake(path) == (
        f"config file {path}: cannot be read (No such file or directory); "
        "give the path of a YAML file in UTF-8"
    )


def test_defaults_need_no_file():
    assert load_config(environment={}) == Config()
    assert (
        load_config({}, environment={"PATH": "/bin", "INFERENCE_EXPORTER_PORT": "tcp://10.0.0.1"}) == Config()
    )


def test_an_empty_file_gives_the_defaults(tmp_path: Path):
    (tmp_path / "c.yaml").write_text("# nothing yet\n")
    assert load_config(tmp_path / "c.yaml", environment={}) == Config()


def test_every_section_of_the_documented_example_is_read(tmp_path: Path):
    path = tmp_path / "c.yaml"
    path.write_text(
        """
model: food11
capture:
  paths: ["/predict", "/v1/*", "regex:/v2/models/[^/]+/infer"]
  payload: fields
  fields: {predicted_class: prediction, embedding: "request.instances[0]", request_id: "header:x-request-id"}
  max_body_bytes: 1MiB
drift:
  - reference: reference.npz
    window: [50, 10]
    false_alarm_interval: 7d
    sample: {max_per_second: 5}
queue: {max_items: 100, max_bytes: 64MiB, flush_interval_seconds: 20ms}
sidecar: {upstream: "http://127.0.0.1:8000/", listen: "0.0.0.0:8080"}
admin: {listen: "unix:/run/exporter.sock"}
"""
    )
    config = load_config(path, environment={})
    assert config.model == "food11"
    assert config.capture.max_body_bytes == 1024**2
    assert config.drift[0].reference == Path("reference.npz")
    assert config.drift[0].windows == (10, 50)
    assert config.drift[0].run_length == 7 * 86400 * 5
    assert config.queue.max_bytes == 64 * 1024**2
    assert config.queue.flush_interval_seconds == 0.02
    assert config.sidecar is not None
    assert config.sidecar.upstream == "http://127.0.0.1:8000"


def test_settings_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        Config().queue.max_items = 1  # type: ignore[misc]


def test_the_environment_wins_over_the_file_and_overrides_over_both():
    file = {"model": "file", "queue": {"max_items": 1, "max_batch": 7}}
    environment = {P + "MODEL": "environment", P + "QUEUE__MAX_ITEMS": "2"}
    config = load_config(file, environment=environment)
    assert (config.model, config.queue.max_items, config.queue.max_batch) == ("environment", 2, 7)
    assert load_config(file, environment=environment, overrides={"model": "code"}).model == "code"


def test_the_environment_addresses_items_of_a_list():
    file = {"drift": [{"window": 50, "seed": 1}], "capture": {"paths": ["/a", "/b"]}}
    config = load_config(
        file,
        environment={
            P + "DRIFT__0__WINDOW": "20",
            P + "DRIFT__1__NAME": "second",
            P + "DRIFT__1__SAMPLE__MAX_PER_SECOND": "5",
            P + "CAPTURE__PATHS__1": "/c",
        },
    )
    assert [entry.window for entry in config.drift] == [20, 50]
    assert [entry.seed for entry in config.drift] == [1, None]
    assert config.drift[1].sample == SampleConfig(max_per_second=5)
    assert config.capture.paths == ("/a", "/c")


def test_numbers_of_items_may_have_zeros_before_them_and_come_from_code_as_well():
    config = load_config(
        environment={P + "DRIFT__00__WINDOW": "20", P + "DRIFT__0__SEED": "1"},
        overrides={"drift": {0: {"name": "first"}}},
    )
    assert [(entry.window, entry.seed, entry.name) for entry in config.drift] == [(20, 1, "first")]


def test_an_item_that_leaves_a_gap_is_refused():
    assert mistake(DRIFT__2__WINDOW="20") == (
        "drift[2]: there is no such item; the list has 0, so the next one is drift[0]"
    )


def test_text_in_the_environment_stays_text():
    config = load_config(
        environment={
            P + "MODEL": "0123",
            P + "ADMIN__TOKEN": "12345678",
            P + "ADMIN__LISTEN": "[::1]:10911",
            P + "CAPTURE__FIELDS__CONFIDENCE": "[0].score",
            P + "CAPTURE__PATHS": '["/a", "/b"]',
            P + "DRIFT": "[{window: [5, 9], reference: {learn: 500}}]",
            P + "ALERTS__JOB": "null",
        }
    )
    assert config.model == "0123"
    assert config.admin == AdminConfig(token="12345678", listen="[::1]:10911")
    assert config.capture.fields.confidence == "[0].score"
    assert config.capture.paths == ("/a", "/b")
    assert config.drift[0].windows == (5, 9)
    assert config.alerts.job == "null"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "QUEUE__MAX_ITEMS",
            "many",
            f"queue.max_items ({P}QUEUE__MAX_ITEMS): 'many' is not valid: "
            "it must be a whole number; write one such as 50",
        ),
        (
            "CAPTRE__PATHS",
            "x",
            f"captre ({P}CAPTRE__PATHS): unknown key, set to a section with the keys paths; "
            "did you mean capture?",
        ),
        (
            "ADMIN__TOKEN",
            "",
            f"admin.token ({P}ADMIN__TOKEN): a value that is not shown is not valid: "
            "it is too short; give 8 characters or more",
        ),
        ("", "x", f"{P}: names no key; write {P}SECTION__KEY, with two underscores between"),
    ],
)
def test_a_mistake_in_the_environment_names_the_variable(name: str, value: str, message: str):
    assert mistake(**{name: value}) == message


@pytest.mark.parametrize(
    "text", ["[{window: 50}", "{{ drift }}", "[!!int x]", "[" * 2000, "[2020-13-45, &a [*a]]"]
)
def test_what_is_no_yaml_in_the_environment_is_said_of_the_variable(text: str):
    assert mistake(DRIFT=text).startswith(f"{P}DRIFT, line 1: not valid YAML: ")


def test_a_mistake_names_the_place_that_won(tmp_path: Path):
    path = tmp_path / "c.yaml"
    path.write_text("queue:\n  max_items: 0\n  max_batch: 0\n  max_bytes: 0\n")
    with pytest.raises(ConfigError) as caught:
        load_with_origins(
            path,
            environment={P + "QUEUE": "{max_items: 0}", P + "QUEUE__MAX_BYTES": "0"},
            overrides={"queue": {"max_bytes": 0}},
            option_names={("queue", "max_bytes"): "--max-bytes"},
        )
    named = [line.partition(":")[0] for line in str(caught.value).splitlines()]
    assert named == [
        f"queue.max_items ({P}QUEUE)",
        "queue.max_bytes (--max-bytes)",
        "queue.max_batch (line 3)",
    ]


def test_a_mistake_in_code_names_no_place(tmp_path: Path):
    path = tmp_path / "c.yaml"
    path.write_text("queue:\n  max_items: 1\n")
    with pytest.raises(ConfigError, match=r"^queue\.max_items: 0 is not valid"):
        load_config(path, environment={}, overrides={"queue": {"max_items": 0}})


def test_a_collector_is_a_url_or_a_section_wherever_it_is_set():
    url, token = "http://127.0.0.1:10911", "s3cret-enough"
    assert load_config({"collector": url}, environment={}).collector == CollectorConfig(url=url)
    whole = CollectorConfig(url=url, token=token)
    assert load_config({"collector": {"url": url, "token": token}}, environment={}).collector == whole
    apart = {P + "COLLECTOR__TOKEN": token}
    assert load_config({"collector": url}, environment=apart).collector == whole
    assert load_config(environment={P + "COLLECTOR": url, **apart}).collector == whole
    assert token not in repr(whole)


HOSTS = st.sampled_from(["127.0.0.1", "[::1]", "::1", "name", "a.b-c", "[", "", "a b", "u@h", "a/b"])
PORTS = st.sampled_from(
    ["", ":", ":0", ":1", ":80", ":8000", ":65535", ":65536", ":80000", ":8O00", ":-1", ":٣", ":+5"]
)


@given(st.sampled_from(["", "http://"]), HOSTS, PORTS, st.sampled_from(["", "/", "/x", "?a"]))
def test_an_address_that_is_taken_is_connected_to_as_it_is_written(
    scheme: str, host: str, port: str, rest: str
):
    text = f"{scheme}{host}{port}{rest}"
    section = (
        {"upstream": text, "listen": "unix:/run/x"} if scheme else {"upstream": "unix:/a", "listen": text}
    )
    try:
        config = load_config({"sidecar": section}, environment={}).sidecar
    except ConfigError:
        return
    assert config is not None
    address = Address.parse(config.upstream if scheme else config.listen)
    assert f":{address.port}" == (port or ":80")
    assert address.host == host.strip("[]")


ADDRESS_KEYS = ["sidecar.upstream", "admin.listen", "collector", "alerts.runbook_url", "sidecar.xyz", "xyz"]


@pytest.mark.parametrize("scheme", ["", "http://", "HTTP://", "http:/", "ftp://", "//", "unix:", "unix://"])
@pytest.mark.parametrize("key", ADDRESS_KEYS)
@settings(deadline=None)
@given(text=st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12))
@example(text="/")
@example(text=" @'\"")
def test_no_message_shows_the_password_in_an_address(scheme: str, key: str, text: str):
    url = f"{scheme}someone:hun{text}ter2@127.0.0.1:x"
    section, _, name = key.partition(".")
    for value in (url, [url], {url: 1}, {url: {"a": 1}}, {"listen": {url: None}}):
        data = {section: {name: value} if name else value}
        with contextlib.suppress(ConfigError):
            load_config(data, environment={})
            continue
        message = mistake(data)
        assert not any(part in message for part in ("someone", "hun", "ter2")), message


@pytest.mark.parametrize("url", ["http://user:pa/ss@host", "user:pa ss@host:1", "http://us er:pass@host"])
def test_a_user_name_and_a_password_are_refused_and_hidden(url: str):
    for key in ("SIDECAR__UPSTREAM", "SIDECAR__LISTEN", "ADMIN__LISTEN", "COLLECTOR", "COLLECTOR__URL"):
        message = mistake(**{"SIDECAR__UPSTREAM": "unix:/a", key: url})
        assert re.search(r"\): '(https?://)?\*\*\*@host(:1)?' is not valid: ", message), message


def test_a_whole_and_a_part_of_it_cannot_both_be_set():
    assert mistake(QUEUE="x", QUEUE__MAX_ITEMS="3") == (
        f"{P}QUEUE__MAX_ITEMS: sets a part of what {P}QUEUE sets as a whole; remove one of the two"
    )


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30),
        ("1h30m", 5400),
        ("500ms", 0.5),
        ("7d", 604800),
        ("1w", 604800),
        ("2.5", 2.5),
        ("350ms", 0.35),
        (3, 3),
    ],
)
def test_durations(text: object, seconds: float):
    assert parse_duration(text) == seconds


@given(
    st.lists(
        st.tuples(st.integers(0, 1000), st.sampled_from(["ms", "s", "m", "h", "d", "w"])),
        min_size=1,
        max_size=4,
    )
)
def test_durations_add_up(parts: list[tuple[int, str]]):
    text = "".join(f"{n}{unit}" for n, unit in parts)
    assert parse_duration(text) == pytest.approx(sum(parse_duration(f"{n}{unit}") for n, unit in parts))


@pytest.mark.parametrize("text", ["", "d", "7 d", "-1s", "1s1", "0x10", "7q"])
def test_what_is_no_duration(text: str):
    with pytest.raises(ValueError, match="a duration is"):
        parse_duration(text)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=6,
    ),
    st.sampled_from(["model", "capture", "drift", "queue", "sidecar", "admin", "alerts", "x"]),
)
def test_whatever_is_written_is_taken_or_explained(value: object, section: str):
    with contextlib.suppress(ConfigError):
        load_config({section: value}, environment={})


@given(st.dictionaries(st.text("ABC_0129", max_size=12), st.text(max_size=12), max_size=4))
def test_whatever_stands_in_the_environment_is_taken_or_explained(variables: dict[str, str]):
    with contextlib.suppress(ConfigError):
        load_config(environment={P + name: value for name, value in variables.items()})


def test_what_is_loaded_can_be_loaded_again():
    config = load_config(
        {"drift": [{"window": [5, 9], "reference": {"learn": 500}}, {"name": "b", "reference": "b.npz"}]},
        environment={},
    )
    dumped = yaml.safe_load(yaml.safe_dump(config.model_dump(mode="json", exclude_unset=True)))
    assert load_config(dumped, environment={}) == config


def test_run_lengths_come_from_either_way_of_saying_it():
    assert MMDConfig().run_length == 10_000
    assert MMDConfig(expected_run_length=500).run_length == 500
    weekly = MMDConfig(false_alarm_interval=604800, sample=SampleConfig(max_per_second=0.5))
    assert weekly.run_length == 302_400


def test_labels_tell_windows_apart():
    assert MMDConfig().labels((50,)) == ["mmd"]
    assert MMDConfig(name="images").labels((5, 50)) == ["images_w5", "images_w50"]
