"""The generated repository: configurations by profile held against golden texts, and files that are safe to rewrite."""

from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

import triton_models
from adapters import repository
from adapters.settings import TritonSettings
from schemas.errors import UserError
from triton_models.icu_mortality.card import CARD as ICU

GOLDEN = Path(__file__).parent / "golden"
STAT_ICU = replace(ICU, serving=replace(ICU.serving, stat_instance=True, instances_cpu=2, warm_up_rows=4))


CARDS = {name: model.card for name, model in triton_models.discover().items()}
LANES = [(task, lane) for task, card in CARDS.items() for lane in ("routine", "stat")[: 1 + card.serving.stat_instance]]


@pytest.mark.parametrize("profile", ["cpu", "a30"])
@pytest.mark.parametrize(("task", "lane"), LANES)
def test_the_configuration_of_a_card_equals_its_golden_text(task: str, lane: str, profile: repository.Profile) -> None:
    """S3: both profiles are generated from the card and cannot change unseen."""
    text = repository.config_text(CARDS[task], profile, lane == "stat")
    golden = GOLDEN / f"{task}.{lane}.{profile}.pbtxt"
    assert text == golden.read_text(), f"changed on purpose? write the new text to {golden.name}"


@pytest.mark.parametrize("profile", ["cpu", "a30"])
def test_a_configuration_parses_as_tritons_own_message_and_holds_no_queue_timeout(profile: repository.Profile) -> None:
    """S3: what is generated is valid for Triton, field by field; a server-side timeout must never slip in."""
    config = text_format.Parse(repository.config_text(STAT_ICU, profile, stat=True), model_config_pb2.ModelConfig())
    assert config.name == "icu_mortality-1_0_0-stat".replace("1_0_0", ICU.version.replace(".", "_"))
    assert config.max_batch_size == ICU.serving.max_batch_size
    assert config.dynamic_batching.priority_levels == 2
    assert config.dynamic_batching.default_queue_policy.max_queue_size == ICU.serving.max_queue_size
    assert config.dynamic_batching.default_queue_policy.default_timeout_microseconds == 0
    assert config.model_warmup[0].batch_size == 4
    kind = config.instance_group[0].kind
    assert kind == {"cpu": config.instance_group[0].KIND_CPU, "a30": config.instance_group[0].KIND_GPU}[profile]
    accelerators = config.optimization.execution_accelerators.gpu_execution_accelerator
    assert [(item.name, item.parameters["precision_mode"]) for item in accelerators] == (
        [("tensorrt", "FP16")] if profile == "a30" else []
    )


def test_both_profiles_take_and_give_the_same_tensors() -> None:
    """S3: a client cannot tell the profiles apart, but for the batch size that only the CPU profile reports."""
    cpu, a30 = (
        text_format.Parse(repository.config_text(ICU, profile), model_config_pb2.ModelConfig())
        for profile in ("cpu", "a30")
    )
    assert list(cpu.input) == list(a30.input)
    assert [spec for spec in cpu.output if spec.name != repository.BATCH_SIZE] == list(a30.output)


def test_only_the_routine_instance_of_a_model_with_two_steps_back() -> None:
    """CC14: urgent work wins the processor when both instances are busy."""
    routine, stat = (repository.config_text(STAT_ICU, "cpu", stat=lane) for lane in (False, True))
    assert 'key: "niceness", value: { string_value: "5" }' in routine
    assert 'key: "niceness", value: { string_value: "0" }' in stat
    assert 'key: "niceness", value: { string_value: "0" }' in repository.config_text(ICU, "cpu")


def test_building_writes_each_lane_and_a_second_build_touches_nothing(tmp_path: Path) -> None:
    """S3."""
    weights = tmp_path / "weights.onnx"
    weights.write_bytes(b"not read here")
    settings = TritonSettings(repository=tmp_path / "repository")
    entries = [repository.Entry(STAT_ICU, weights)]
    names = repository.build(settings, entries)
    version = ICU.version.replace(".", "_")
    assert names == [f"icu_mortality-{version}", f"icu_mortality-{version}-stat"]
    files = sorted(path for path in settings.repository.rglob("*") if path.is_file())
    assert [str(path.relative_to(settings.repository / names[0])) for path in files[:3]] == [
        "1/model.onnx",
        "1/model.py",
        "config.pbtxt",
    ]
    before = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}
    assert repository.build(settings, entries) == names
    assert {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in files} == before


def test_changed_weights_replace_the_served_file_whole(tmp_path: Path) -> None:
    """A reader of the old file keeps reading the old bytes."""
    first, second = tmp_path / "first.onnx", tmp_path / "second.onnx"
    first.write_bytes(b"first")
    second.write_bytes(b"second")
    settings = TritonSettings(repository=tmp_path / "repository")
    (name,) = repository.build(settings, [repository.Entry(ICU, first)])
    with (settings.repository / name / "1" / "model.onnx").open("rb") as reader:
        repository.build(settings, [repository.Entry(ICU, second)])
        assert reader.read() == b"first"
    assert (settings.repository / name / "1" / "model.onnx").read_bytes() == b"second"
    assert first.read_bytes() == b"first"


def test_changing_the_profile_leaves_no_python_backend_behind(tmp_path: Path) -> None:
    """S9: the same home may be started with other settings."""
    weights = tmp_path / "weights.onnx"
    weights.write_bytes(b"x")
    cpu = TritonSettings(repository=tmp_path / "repository", profile="cpu")
    (name,) = repository.build(cpu, [repository.Entry(ICU, weights)])
    repository.build(cpu.model_copy(update={"profile": "a30"}), [repository.Entry(ICU, weights)])
    assert not (cpu.repository / name / "1" / "model.py").exists()
    assert "onnxruntime_onnx" in (cpu.repository / name / "config.pbtxt").read_text()


def test_missing_weights_name_the_command_that_makes_them(tmp_path: Path) -> None:
    settings = TritonSettings(repository=tmp_path / "repository")
    with pytest.raises(UserError, match="clinstream train icu_mortality"):
        repository.build(settings, [repository.Entry(ICU, tmp_path / "none.onnx")])


def test_pruning_removes_only_what_is_not_kept(tmp_path: Path) -> None:
    weights = tmp_path / "weights.onnx"
    weights.write_bytes(b"x")
    settings = TritonSettings(repository=tmp_path / "repository")
    older = replace(ICU, version="0.9.0")
    repository.build(settings, [repository.Entry(card, weights) for card in (older, ICU)])
    assert repository.prune(settings, repository.names(ICU)) == ["icu_mortality-0_9_0"]
    assert [path.name for path in settings.repository.iterdir()] == repository.names(ICU)


def test_weights_of_before_an_optional_output_are_served_without_it(tmp_path: Path) -> None:
    """S3: a version trained earlier still loads: Triton refuses a configuration that names more than the file gives."""
    chest = triton_models.discover()["chest_xray"]
    older = tmp_path / "older.onnx"
    model = onnx.load(str(chest.weights_path))
    del model.graph.output[1]
    onnx.save(model, str(older))
    settings = TritonSettings(repository=tmp_path / "repository")
    for weights, there in ((older, False), (chest.weights_path, True)):
        name = repository.build(settings, [repository.Entry(chest.card, weights)])[0]
        text = (settings.repository / name / "config.pbtxt").read_text()
        assert ('name: "places"' in text) is there
        assert ('"probability,places"' in text) is there
