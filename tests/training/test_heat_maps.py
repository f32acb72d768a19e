"""Heat maps: hot where it matters, laid over what the network saw, in files that are of one picture each."""

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from tao_lite.data import decode
from tao_lite.errors import RunError
from tao_lite.machine import distributed
from tao_lite.run import Run
from tao_lite.spec import classification_pb2 as pb
from tao_lite.spec.load import Spec, load_text
from tao_lite.stages.inference import Extras, inference
from tao_lite.stages.train.train import train
from tao_lite.training.arithmetic import set_tf32
from tao_lite.training.heat_maps import coloured, heat_maps, overlaid
from tao_lite.training.trained import Trained
from tests.checkpoints import answering

CPU = torch.device("cpu")
# The bars are outside of what letterboxed pictures show.
SEEN = 'resize_mode: LETTERBOX letterbox_value: 114 input_image_size: "3,64,96"'
MODEL = f'arch: "resnet" n_layers: 10 use_batch_norm: true {SEEN}'
NAMES = ("a.png", "deep/a.png", "deep/a..png", "=(1) ä\n/a.png")


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return answering(tmp_path_factory.mktemp("network"), MODEL, "torch")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Of one stem, in folders of strange names, and a file that is no picture."""
    root, rng = tmp_path / "pictures", np.random.default_rng(0)
    for name in NAMES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 120, 3), dtype=np.uint8)).save(root / name)
    (root / "bad.png").write_bytes(b"none")
    return root


def test_every_picture_lies_under_its_map_as_the_network_saw_it(network: Path, pictures: Path, tmp_path: Path) -> None:
    run = Run(results=tmp_path / "out", world=distributed.start("cpu"))
    experiment = pb.Experiment(eval_config=pb.EvalConfig(model_path=str(network), batch_size=3))
    summary = inference(Spec(experiment, Path("a.cfg")), run, pictures, Extras(has_heat_maps=True))
    assert (summary["images"], summary["heat_maps_method"]) == (4, "Grad-CAM")
    with (run.heat_maps / "heat_maps.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    with run.result_csv.open(newline="") as file:
        assert [(row["path"], row["class"]) for row in table] == [(path, name) for path, name, _ in csv.reader(file)]
    files = [row["heat_map"] for row in table]
    assert sorted(path.name for path in run.heat_maps.iterdir()) == sorted([*files, "heat_maps.csv"])
    assert len(set(files)) == 4
    assert all(name.isascii() and not set(name) & set("/\\ \n=()") for name in files)

    trained = Trained.of(network, CPU)
    maps = heat_maps(trained)
    for row in table:
        seen = trained.pipeline.resized(decode.decode(Path(row["path"]), 3))
        assert (seen[0, 0] == 114).all()
        heat = maps.of(torch.from_numpy(seen).permute(2, 0, 1)[None], torch.tensor([["abcd".index(row["class"])]]))
        assert heat.shape == (1, 1, 4, 6)
        assert heat.max() == pytest.approx(1)
        found = np.asarray(Image.open(run.heat_maps / row["heat_map"]))
        assert found.shape == (64, 96, 3)
        warmth = cv2.resize(heat[0, 0].numpy(), (96, 64))
        assert np.abs(found.astype(int) - seen)[warmth == 0].max(initial=0) == 0
        assert np.abs(found.astype(int) - seen)[warmth > 0.9].mean() > 20


def test_pictures_of_a_run_before_are_gone_and_other_files_stay(network: Path, pictures: Path, tmp_path: Path) -> None:
    run = Run(results=tmp_path / "out", world=distributed.start("cpu"))
    experiment = pb.Experiment(eval_config=pb.EvalConfig(model_path=str(network)))
    spec, extras = Spec(experiment, Path("a.cfg")), Extras(has_heat_maps=True)
    inference(spec, run, pictures, extras)
    own = run.heat_maps / "000000_own.png"
    own.write_bytes(b"mine")
    (pictures / NAMES[0]).unlink()
    inference(spec, run, pictures, extras)
    assert len(list(run.heat_maps.iterdir())) == 3 + 2
    assert own.read_bytes() == b"mine"


def test_the_maps_are_those_of_fp32_whatever_the_spec_says(network: Path) -> None:
    images = torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found, modes = [], []
    for precision in (pb.Precision.FP32, pb.Precision.BF16):
        experiment = pb.Experiment(train_config=pb.TrainConfig(precision=precision))
        trained = Trained.of(network, CPU, experiment)
        trained.precision  # noqa: B018 - as predictions make it, it is of the whole process
        maps = heat_maps(trained)
        trained.network.register_forward_hook(lambda *_: modes.append(torch.get_float32_matmul_precision()))
        set_tf32(allowed=True)  # as of a GPU
        found.append(maps.of(images, torch.tensor([[0, 2], [1, 3]])))
        assert torch.get_float32_matmul_precision() == "high"
        set_tf32(allowed=False)
    assert modes == ["highest"] * 2
    assert found[0].shape == (2, 2, 4, 6)
    assert torch.equal(*found)


@pytest.mark.slow
def test_a_network_without_a_map_is_refused_by_its_name(tmp_path: Path) -> None:
    path = answering(tmp_path, 'arch: "timm/mixer_s32_224" input_image_size: "3,224,224"', "torch")
    with pytest.raises(RunError, match=r"model.pth: timm/mixer_s32_224 has neither a feature map .* leave them out"):
        heat_maps(Trained.of(path, CPU))


@pytest.mark.slow
def test_of_a_transformer_it_is_attention_the_same_for_all_classes(tmp_path: Path) -> None:
    path = answering(tmp_path, 'arch: "timm/vit_tiny_patch16_224" input_image_size: "3,224,224"', "torch")
    maps = heat_maps(Trained.of(path, CPU))
    images = torch.randint(0, 256, (2, 3, 224, 224), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = maps.of(images, torch.tensor([[0, 1], [2, 3]]))
    assert (maps.method, found.shape) == ("attention rollout", (2, 2, 14, 14))
    assert torch.equal(found[:, 0], found[:, 1])
    assert not torch.equal(found[0], found[1])
    assert (found.amin().item(), found.amax().item()) == (0, 1)


def test_cold_is_clear_and_hot_is_red() -> None:
    heat = torch.tensor([[0.0, 0.5, 1.0]])
    pixels = coloured(heat)
    assert pixels[0, :, 3].tolist() == [0, round(128 * 0.6), round(255 * 0.6)]
    assert pixels[0, 2, 0] > max(pixels[0, 2, 1:3])
    grey = torch.full((1, 1, 3), 200, dtype=torch.uint8)
    assert overlaid(grey, heat)[0, 0].tolist() == [200, 200, 200]


@pytest.mark.slow
def test_a_trained_network_looks_at_the_spot_that_tells_the_classes(tmp_path: Path) -> None:
    """Noise with a dark or a light spot anywhere: nothing else tells the classes, and nobody says where it is."""
    rng, places = np.random.default_rng(0), {}
    for split, number in (("train", 40), ("test", 12)):
        for name, level in (("dark", 0), ("light", 255)):
            (tmp_path / split / name).mkdir(parents=True)
            for index in range(number):
                pixels = rng.integers(96, 160, (128, 128, 3), dtype=np.uint8)
                top, left = rng.integers(0, 96, 2)
                pixels[top : top + 32, left : left + 32] = level
                path = tmp_path / split / name / f"{index}.png"
                Image.fromarray(pixels).save(path)
                places[path] = (top + 16, left + 16)
    text = f"""
        model_config {{ arch: "resnet" n_layers: 10 use_batch_norm: true input_image_size: "3,128,128" }}
        train_config {{
          train_dataset_path: "{tmp_path / "train"}" val_dataset_path: "{tmp_path / "test"}" batch_size_per_gpu: 12
          n_epochs: 6 preprocess_mode: "torch" precision: FP32 random_seed: 1 enable_random_crop: false
          optimizer {{ sgd {{ momentum: 0.9 }} }} lr_config {{ cosine {{ learning_rate: 0.02 }} }}
          visualizer {{ enabled: false }}
        }}"""
    run = Run(results=tmp_path / "run", world=distributed.start("cpu"))
    train(load_text(text, tmp_path / "a.cfg"), run)
    maps = heat_maps(Trained.of(run.best, CPU))
    distances = []
    for path, (row, column) in places.items():
        if "test" in path.parts:
            image = torch.from_numpy(decode.decode(path, 3)).permute(2, 0, 1)[None]
            heat = maps.of(image, torch.tensor([[["dark", "light"].index(path.parent.name)]]))[0, 0]
            hottest = divmod(int(heat.argmax()), heat.shape[1])
            centre = [(place + 0.5) * 128 / size for place, size in zip(hottest, heat.shape, strict=True)]
            distances.append(max(abs(centre[0] - row), abs(centre[1] - column)))
    # The hottest place, 16 pixels wide, touches the spot of 32. By chance it would in one of seven cases.
    assert np.mean(np.array(distances) <= 24) > 0.9
