from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from timm.models import save_for_hf

from moderator.errors import PluginError, WeightsError
from moderator.types import Content, Modality
from moderator_image.embedder import TimmImage
from moderator_image.pixels import augmented, resized


def picture(height: int, width: int, seed: int = 0) -> Content:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Content(Modality.IMAGE, pixels)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    trained = TimmImage()
    trained.initialise("cpu", seed=0)
    path = tmp_path_factory.mktemp("weights") / "image-timm.safetensors"
    trained.save(path)
    return path


@pytest.fixture(scope="module")
def embedder(weights: Path) -> TimmImage:
    loaded = TimmImage({"weights": str(weights)})
    loaded.load("cpu")
    return loaded


def test_one_summary_and_a_grid_with_boxes_of_the_original(embedder: TimmImage) -> None:
    [embedding] = embedder.embed_batch([picture(90, 300)])
    assert embedding.tokens.shape == (26, embedder.dim) == (26, 128)
    assert embedding.spans.dtype == np.float32
    assert embedding.spans[0].tolist() == [0, 0, 300, 90]
    assert embedding.spans[1].tolist() == [0, 0, 60, 18]
    assert embedding.spans[-1].tolist() == [240, 72, 300, 90]
    assert torch.isfinite(embedding.tokens).all()
    assert not embedding.truncated


def test_the_batch_does_not_change_an_embedding(embedder: TimmImage) -> None:
    images = [picture(20 + 13 * index, 200 - 7 * index, index) for index in range(19)]
    together = embedder.embed_batch(images)
    for image, embedding in zip(images, together, strict=True):
        [alone] = embedder.embed_batch([image])
        assert torch.allclose(alone.tokens, embedding.tokens, atol=1e-5, rtol=0)
    assert embedder.embed_batch([]) == []


def test_a_detail_moves_the_token_of_its_place_most(embedder: TimmImage) -> None:
    plain = np.full((160, 160, 3), 120, dtype=np.uint8)
    marked = plain.copy()
    marked[70:90, 70:90] = 255  # the middle cell of five by five
    before, after = embedder.embed_batch([Content(Modality.IMAGE, plain), Content(Modality.IMAGE, marked)])
    moved = (after.tokens - before.tokens).norm(dim=1)[1:]
    assert int(moved.argmax()) == 12


def test_examples_are_embedded(embedder: TimmImage) -> None:
    embeddings = embedder.embed_batch(TimmImage.examples())
    assert all(torch.isfinite(embedding.tokens).all() for embedding in embeddings)
    assert not torch.allclose(embeddings[0].tokens, embeddings[1].tokens)


def test_weights_are_half_precision_and_say_what_they_are(weights: Path, embedder: TimmImage) -> None:
    assert weights.stat().st_size < 3_000_000
    assert {value.dtype for value in load_file(weights).values() if value.ndim > 1} == {torch.float16}
    with safe_open(weights, framework="pt") as file:
        assert json.loads(file.metadata()["embedder"])["name"] == "image-timm"
    [found] = embedder.weights()
    assert (found.path, found.origin) == (weights, "path")
    assert embedder.fingerprint == f"1:{found.sha256[:16]}"
    assert next(embedder._network.parameters()).dtype == torch.float32


def test_the_shipped_weights_are_found_and_load() -> None:
    embedder = TimmImage()
    [found] = embedder.weights()
    embedder.load("cpu")
    assert found.origin == "package"
    assert found.path.stat().st_size < 3_000_000
    assert embedder.fingerprint == f"1:{found.sha256[:16]}"
    first, second = embedder.embed_batch(TimmImage.examples()[:2])
    assert not torch.allclose(first.tokens[0], second.tokens[0])


def test_saving_and_loading_keeps_the_tokens(weights: Path, tmp_path: Path) -> None:
    first, second = TimmImage({"weights": weights}), TimmImage({"weights": str(tmp_path)})
    first.load("cpu")
    first.save(tmp_path / "image-timm.safetensors")
    second.load("cpu")
    assert first.fingerprint == second.fingerprint
    [one], [two] = (each.embed_batch([picture(50, 50)]) for each in (first, second))
    assert torch.equal(one.tokens, two.tokens)


def test_the_same_seed_gives_the_same_weights_and_leaves_chance_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    one, two, three = (TimmImage().initialise("cpu", seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert not all(torch.equal(one[key], three[key]) for key in one)


def test_gradients_reach_the_network() -> None:
    embedder = TimmImage()
    module = embedder.initialise("cpu", 0).train()
    inputs = embedder.inputs([picture(40, 60), picture(60, 40)], np.random.default_rng(0))
    assert inputs.shape == (2, 3, 160, 160)
    tokens, mask = embedder.forward(inputs)
    assert tokens.shape[:2] == mask.shape
    assert mask.all()
    tokens.square().mean().backward()
    without = [name for name, value in module.named_parameters() if value.grad is None]
    assert without == []


def test_augmentation_is_random_seeded_and_of_the_right_form() -> None:
    image = np.asarray(picture(30, 80).data)
    first = augmented(image, (64, 64), "bilinear", np.random.default_rng(1))
    again = augmented(image, (64, 64), "bilinear", np.random.default_rng(1))
    other = augmented(image, (64, 64), "bilinear", np.random.default_rng(2))
    assert first.shape == (64, 64, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1)])
def test_the_smallest_and_thinnest_images(shape: tuple[int, int], embedder: TimmImage) -> None:
    assert torch.isfinite(embedder.embed_batch([picture(*shape)])[0].tokens).all()
    for seed in range(10):
        rng = np.random.default_rng(seed)
        assert augmented(np.asarray(picture(*shape).data), (32, 32), "bicubic", rng).shape == (32, 32, 3)


def test_shrinking_is_antialiased() -> None:
    stripes = np.zeros((64, 64, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    small = resized(stripes, (8, 8), "bilinear")
    assert np.abs(small.astype(int) - 127).max() < 20


# A model of timm, as a folder, as a file, and what may be wrong with them


@pytest.fixture(scope="module", params=["convolutional", "transformer"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    if request.param == "convolutional":
        arguments: dict[str, Any] = {"channels": [8, 8, 16, 24], "stem_width": 8}
        model: Any = timm.create_model("resnet10t", num_classes=5, **arguments)
    else:
        arguments = {"img_size": 64, "embed_dim": 24, "depth": 1, "num_heads": 2}
        model = timm.create_model("vit_tiny_patch16_224", num_classes=5, **arguments)
        model.pretrained_cfg["input_size"] = (3, 64, 64)
    path = tmp_path_factory.mktemp(str(request.param))
    save_for_hf(model, str(path), model_args=arguments, safe_serialization=True)
    return path


def test_a_folder_as_timm_saves_it(folder: Path) -> None:
    embedder = TimmImage({"weights": str(folder)})
    embedder.load("cpu")
    [embedding] = embedder.embed_batch([picture(70, 50)])
    assert embedder.dim == 24
    assert embedding.tokens.shape[1] == 24
    assert len(embedding.tokens) == len(embedding.spans) > 1
    [found] = embedder.weights()
    assert found.path == folder / "model.safetensors"
    assert embedder.fingerprint.startswith("1:")

    config = json.loads((folder / "config.json").read_text())
    arguments = {**config["model_args"], "num_classes": 0}
    model: Any = timm.create_model(config["architecture"], **arguments).eval()
    stored = load_file(folder / "model.safetensors")
    model.load_state_dict({key: value for key, value in stored.items() if key in model.state_dict()})
    pixels = embedder.inputs([picture(70, 50)]).float() / 255
    cfg = config["pretrained_cfg"]
    scaled = (pixels - torch.tensor(cfg["mean"])[:, None, None]) / torch.tensor(cfg["std"])[:, None, None]
    with torch.inference_mode():
        features = model.forward_features(scaled)
    cells = features.flatten(2).transpose(1, 2) if features.ndim == 4 else features[:, 1:]
    assert torch.allclose(embedding.tokens[1:], cells[0], atol=1e-4)


def test_what_is_read_beside_the_weights_is_in_the_fingerprint(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    config["pretrained_cfg"]["mean"] = [0.1, 0.2, 0.3]
    (tmp_path / "config.json").write_text(json.dumps(config))
    one, two = TimmImage({"weights": str(folder)}), TimmImage({"weights": str(tmp_path)})
    one.load("cpu")
    two.load("cpu")
    assert one.fingerprint != two.fingerprint


def test_a_file_with_the_name_of_its_model(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model: Any = timm.create_model("mobilenetv3_small_050", num_classes=3)
    path = tmp_path / "any.safetensors"
    save_file(model.state_dict(), path)
    embedder = TimmImage({"model": "mobilenetv3_small_050", "weights": path})
    embedder.load("cpu")
    [embedding] = embedder.embed_batch([picture(30, 30)])
    assert embedding.tokens.shape == (1 + 7 * 7, embedder.dim)
    with pytest.raises(WeightsError, match="does not fit resnet10t"):
        TimmImage({"model": "resnet10t", "weights": path}).load("cpu")
    with pytest.raises(PluginError, match="only its own network"):
        TimmImage({"model": "resnet10t"}).initialise("cpu", 0)


def test_missing_and_foreign_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no weights at"):
        TimmImage({"weights": str(tmp_path / "gone.safetensors")}).load("cpu")
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="not written by training image-timm"):
        TimmImage({"weights": str(tmp_path / "other.safetensors")}).load("cpu")
    (tmp_path / "broken.safetensors").write_bytes(b"not tensors at all")
    with pytest.raises(WeightsError, match="not a safetensors file"):
        TimmImage({"weights": str(tmp_path / "broken.safetensors")}).load("cpu")
    (tmp_path / "model.pt").write_bytes(b"pickle")
    with pytest.raises(WeightsError, match="pickle"):
        TimmImage({"weights": str(tmp_path / "model.pt")}).load("cpu")


def test_weights_of_another_shape_are_refused(weights: Path, tmp_path: Path) -> None:
    with safe_open(weights, framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(weights)
    tensors["of_cells.0.weight"] = tensors["of_cells.0.weight"][:64].clone()
    save_file(tensors, tmp_path / "cut.safetensors", metadata)
    with pytest.raises(WeightsError, match=r"another shape, 'of_cells\.0\.weight'"):
        TimmImage({"weights": tmp_path / "cut.safetensors"}).load("cpu")


def test_bad_options_and_contents_are_refused(embedder: TimmImage) -> None:
    with pytest.raises(PluginError, match="unknown option colour"):
        TimmImage({"colour": "red"})
    with pytest.raises(PluginError, match="must be a name or path"):
        TimmImage({"model": 3})
    with pytest.raises(PluginError, match=r"uint8 images \(H, W, 3\), got text"):
        embedder.embed_batch([Content(Modality.IMAGE, "a")])
    with pytest.raises(PluginError, match="got float32"):
        embedder.embed_batch([Content(Modality.IMAGE, np.zeros((4, 4, 3), dtype=np.float32))])
    with pytest.raises(PluginError, match=r"load\(\) or initialise\(\)"):
        TimmImage().embed_batch([picture(4, 4)])


def test_registering_does_not_import_torch() -> None:
    code = (
        "import moderator_image, sys; moderator_image.register_embedders(); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
