"""Model folders from elsewhere: damaged, hostile or random ones end in a BSAError and allocate nothing that is not there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

import bsa_st
from bsa_st import BSAError
from tests.smallmodel import small_model

FUZZ = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "model"
    bsa_st.save(small_model(tmp_path_factory.mktemp("encoder")), folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "model"))


@pytest.fixture(scope="module")
def mutable(saved: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, bytes], None]:
    """Loads the model with one file replaced; nothing but success or a BSAError may come out."""
    folder = Path(shutil.copytree(saved, tmp_path_factory.mktemp("mutable") / "model"))

    def load_with(name: str, content: bytes) -> None:
        before = (folder / name).read_bytes()
        (folder / name).write_bytes(content)
        try:
            bsa_st.load(folder, device="cpu")
        except BSAError as error:
            assert "\n" not in str(error)  # noqa: PT017  # success is allowed too
        finally:
            (folder / name).write_bytes(before)

    return load_with


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def edit_module(folder: Path, place: int, **changes: object) -> None:
    modules = json.loads((folder / "modules.json").read_text())
    modules[place].update(changes)
    (folder / "modules.json").write_text(json.dumps(modules))


def replace_weight(folder: Path, name: str, value: torch.Tensor) -> None:
    path = folder / "model.safetensors"
    save_file({**load_file(path), name: value}, path)


def edit_route(folder: Path, route: str, name: str) -> None:
    """Send a route through another module."""
    routes = json.loads((folder / ROUTES).read_text())
    routes["structure"][route] = [name]
    (folder / ROUTES).write_text(json.dumps(routes))


ROUTES = "3_Router/router_config.json"
CODE, NOT_DENSE = "3_Router/code_1_Dense", r"code_1_Dense/config\.json: expected a Dense"
ARBITRARY_CODE = b"cos\nsystem\n(S'echo owned'\ntR."


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "pytorch_model.bin").write_bytes(ARBITRARY_CODE), r"pytorch_model\.bin: pickled files can run code"),
        (lambda f: (f / "bsa/labels.pkl").write_bytes(ARBITRARY_CODE), r"bsa/labels\.pkl: pickled files can run code"),
        (lambda f: edit_module(f, 0, type="evil.Module"), "'evil.Module' is not of sentence-transformers"),
        (lambda f: edit_module(f, 0, type="os.system"), "'os.system' is not of sentence-transformers"),
        (lambda f: edit_module(f, 1, path="../../elsewhere"), "path '../../elsewhere' leads out of the model folder"),
        (lambda f: edit_module(f, 1, path="/etc"), "path '/etc' leads out of the model folder"),
        (lambda f: edit_module(f, 1, path="..\\x"), "leads out of the model folder"),
        (lambda f: edit_module(f, 1, path=None), r"modules\.json: damaged"),
        (lambda f: (f / "modules.json").write_text("{}"), r"modules\.json: damaged \(not a JSON array\)"),
        (lambda f: (f / "modules.json").write_text("[]"), r"modules\.json: lists 0 modules"),
        (lambda f: (f / "bsa/config.json").write_text("[" * 100_000), r"bsa/config\.json: damaged"),
        (lambda f: edit(f / "bsa/config.json", hidden_dim=10**9), r"bsa/config\.json: hidden_dim must lie between"),
        (lambda f: edit(f / "bsa/config.json", hidden_dim=1 << 22, k=1), r"bsa/model\.safetensors: .* expected \(4194304"),
        (lambda f: edit(f / f"{CODE}/config.json", out_features=10**9), NOT_DENSE),
        (lambda f: edit(f / f"{CODE}/config.json", use_residual=True), NOT_DENSE),
        (lambda f: edit(f / f"{CODE}/config.json", activation_function="evil.Act"), NOT_DENSE),
        (lambda f: edit(f / f"{CODE}/config.json", module_input_name="token_ids"), NOT_DENSE),
        (lambda f: edit(f / ROUTES, structure={}), r"3_Router/router_config\.json: not the routes"),
        (lambda f: edit(f / ROUTES, types={"query_0_Dense": "evil.Module"}), r"3_Router/router_config\.json: not the routes"),
        (lambda f: edit_route(f, "document", "../../elsewhere"), r"3_Router/router_config\.json: not the routes"),
        (lambda f: edit_route(f, "query", "code_0_Dense"), r"3_Router/router_config\.json: not the routes"),
        (lambda f: (f / ROUTES).write_text("{"), r"3_Router/router_config\.json: damaged"),
        (lambda f: (f / ROUTES).unlink(), r"3_Router/router_config\.json: file not found"),
        (lambda f: (f / "4_Router/router_config.json").write_text("{}"), r"4_Router/router_config\.json: not the routes"),
        (lambda f: edit_module(f, 4, type="sentence_transformers.models.Dense"), "ends with 2 modules of the class Router"),
        (lambda f: edit(f / "bsa/config.json", unrolled_steps=10**9), "unrolled_steps must be a whole number that fits"),
        (
            lambda f: edit(f / "bsa/config.json", unrolled_steps=2),
            r"document_1_Dense/model\.safetensors: linear\.weight has shape",
        ),
        (
            lambda f: edit(f / "config.json", vocab_size=10**9),
            r"config\.json: vocab_size = 1000000000 is more than its weights",
        ),
        (lambda f: edit(f / "config.json", num_hidden_layers=10**6), r"config\.json: num_hidden_layers = 1000000 is more"),
        (
            lambda f: edit(f / "config.json", intermediate_size=4_000_000),
            r"config\.json: describes \d+ parameters, its weights",
        ),
        (lambda f: edit(f / "config.json", vocab_size=4_000_000), r"config\.json: describes \d+ parameters, its weights"),
        (
            lambda f: edit(f / "config.json", auto_map={"AutoModel": "evil--code.Model"}, model_type="evil"),
            "cannot load the encoder",
        ),
        (
            lambda f: replace_weight(f / CODE, "linear.weight", torch.zeros(64, 17).double()),
            r"code_1_Dense/model\.safetensors: linear\.weight has shape \(64, 17\) and type F64",
        ),
        (
            lambda f: replace_weight(f / "3_Router/document_3_Dense", "linear.bias", torch.full((80,), torch.nan)),
            r"document_3_Dense/model\.safetensors: linear\.bias holds NaN",
        ),
        (
            lambda f: replace_weight(f / "3_Router/query_0_Dense", "linear.weight", torch.full((64, 16), torch.nan)),
            r"query_0_Dense/model\.safetensors: linear\.weight holds NaN",
        ),
        (
            lambda f: replace_weight(f / "bsa", "weight", torch.zeros(10**6, 16)),
            r"bsa/model\.safetensors: weight has shape \(1000000, 16\)",
        ),
        (lambda f: (f / "bsa/config.json").write_bytes(b"\xff\xfe{}"), r"bsa/config\.json: damaged"),
        (lambda f: (f / "bsa/training.json").write_text("[]"), r"bsa/training\.json: damaged"),
    ],
)
def test_a_hostile_folder_is_refused_by_name(damage: Callable[[Path], Any], message: str, folder: Path) -> None:
    damage(folder)
    with pytest.raises(BSAError, match=message):
        bsa_st.load(folder)


def allocated_by_loading(folder: Path) -> int:
    """Bytes that torch allocates while a folder is loaded or refused."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiler:
        try:
            bsa_st.load(folder, device="cpu")
        except BSAError as error:
            assert "expected (4194304" in str(error)  # noqa: PT017
    return sum(max(0, event.self_cpu_memory_usage) for event in profiler.events())


def test_a_head_that_claims_much_costs_no_memory(folder: Path) -> None:
    assert allocated_by_loading(folder) > 10_000
    edit(folder / "bsa/config.json", hidden_dim=1 << 22, k=1)
    assert allocated_by_loading(folder) < 100_000  # its weights would take 300 MB


def test_a_pickle_is_never_run(folder: Path, tmp_path: Path) -> None:
    """Even where it would be the only file with weights."""
    (folder / CODE / "model.safetensors").rename(folder / CODE / "pytorch_model.bin")
    (folder / CODE / "pytorch_model.bin").write_bytes(b"cos\nmkdir\n(S'%s'\ntR." % str(tmp_path / "owned").encode())
    with pytest.raises(BSAError, match="can run code"):
        bsa_st.load(folder)
    assert not (tmp_path / "owned").exists()


# -- random damage ------------------------------------------------------------------------------------------------------

JSON_FILES = [
    "bsa/config.json", "bsa/training.json", "modules.json", "config.json", "config_sentence_transformers.json",
    "1_Pooling/config.json", ROUTES, "4_Router/router_config.json", f"{CODE}/config.json", "3_Router/document_2_Dense/config.json", "sentence_bert_config.json", "tokenizer_config.json",
]  # fmt: skip
WEIGHTS = [f"{part}model.safetensors" for part in ("bsa/", f"{CODE}/", "3_Router/document_2_Dense/", "")]
SIZES = st.sampled_from([-1, 0, 1, 17, 64, 4096, 1 << 22, 10**9, 1 << 63])
VALUES = st.one_of(
    st.none(), st.booleans(), SIZES, st.integers(), st.floats(), st.text(max_size=20),
    st.lists(st.integers(), max_size=3), st.dictionaries(st.text(max_size=5), st.integers(), max_size=2),
)  # fmt: skip


def mutate(content: Any, data: st.DataObject) -> Any:
    """A copy in which one value, somewhere, is another or missing."""
    if isinstance(content, dict) and content and data.draw(st.integers(0, 9)):
        key = data.draw(st.sampled_from(sorted(content)))
        if data.draw(st.integers(0, 4)) == 0:
            return {name: value for name, value in content.items() if name != key}
        return {**content, key: mutate(content[key], data)}
    if isinstance(content, list) and content and data.draw(st.integers(0, 9)):
        place = data.draw(st.integers(0, len(content) - 1))
        return [*content[:place], mutate(content[place], data), *content[place + 1 :]]
    return data.draw(VALUES)


@FUZZ
@given(name=st.sampled_from(JSON_FILES), data=st.data())
def test_configs_with_another_value_load_or_give_a_bsa_error(
    saved: Path, mutable: Callable[[str, bytes], None], name: str, data: st.DataObject
) -> None:
    mutable(name, json.dumps(mutate(json.loads((saved / name).read_text()), data)).encode())


@FUZZ
@given(name=st.sampled_from([*WEIGHTS, *JSON_FILES, "tokenizer.json"]), data=st.data())
def test_files_with_other_bytes_load_or_give_a_bsa_error(
    saved: Path, mutable: Callable[[str, bytes], None], name: str, data: st.DataObject
) -> None:
    content = bytearray((saved / name).read_bytes())
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content)))]
    for _ in range(data.draw(st.integers(1, 4))):
        if content:  # the header of a safetensors file comes first: half of the flips go there
            end = min(len(content), 600) if data.draw(st.booleans()) else len(content)
            content[data.draw(st.integers(0, end - 1))] = data.draw(st.integers(0, 255))
    mutable(name, bytes(content))
