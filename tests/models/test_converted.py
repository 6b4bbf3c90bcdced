from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from robustbench_aa import antialias, load
from robustbench_aa.antialiasing.conversion import METHODS, Conversion, short_forms
from robustbench_aa.errors import CheckpointError, ConversionError, UnknownName
from robustbench_aa.models import expand
from robustbench_aa.models.checkpoint import CONVERSION, write_converted

PLAIN = "digits:resnet@baseline-seed1"


@pytest.mark.parametrize("short", ["lpf3", "aps", "aps3", "lps", "flc", "asap", "ddac"])
def test_the_name_of_a_converted_model_loads_it_again(short: str) -> None:
    method = {"lpf": "blur"}.get(short.rstrip("0123456789"), short.rstrip("0123456789"))
    size = int(short[-1]) if short[-1].isdigit() else None
    smooth = antialias(load(PLAIN), size, method=method)
    assert smooth.name == f"digits:resnet@baseline+{short}-seed1"
    again = load(smooth.name)
    assert again.name == smooth.name
    assert again.weights_sha256 == smooth.weights_sha256
    assert again.architecture() == smooth.architecture()
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(again.module(x), smooth.module(x))


def test_every_option_is_in_the_name() -> None:
    options = {
        "lpf4": Conversion(),
        "lpf4-firstconv": Conversion(first_conv=True),
        "aps": Conversion(1, method="aps"),
        "aps-nofirstconv": Conversion(method="aps", first_conv=False),
        "lps3-circular-maxpool2": Conversion(
            3, method="lps", padding_mode="circular", max_pool_kernel=2
        ),
        "ddac5-zero": Conversion(5, method="ddac", padding_mode="zero"),
    }
    for short, conversion in options.items():
        assert str(conversion) == short
        assert Conversion.parse(short) == conversion
    for short in short_forms():
        assert Conversion.parse(str(Conversion.parse(short))) == Conversion.parse(short)
    assert {Conversion.parse(short).method for short in short_forms()} == set(METHODS)


@pytest.mark.parametrize(
    ("specification", "message"),
    [
        (f"{PLAIN}+lpf", "unknown anti-aliasing 'lpf'; did you mean lpf"),
        ("nothing:at-all+apps", "unknown anti-aliasing 'apps'; did you mean aps"),
        ("digits:resnet@baseline+lpf9", "unknown anti-aliasing 'lpf9'; did you mean lpf"),
        ("digits:resnet@baseline+flc3", "unknown anti-aliasing 'flc3'; did you mean flc"),
        ("digits:resnet@baseline+aps-circle", "unknown option of .aps 'circle'; did you mean circ"),
    ],
)
def test_an_unknown_conversion_is_refused_before_loading(specification: str, message: str) -> None:
    with pytest.raises(UnknownName, match=message):
        load(specification)


def test_a_network_that_is_anti_aliased_already_is_refused() -> None:
    with pytest.raises(ConversionError, match="ResNet has no downsampling that can be replaced"):
        load("digits:resnet@lpf3+aps")


def test_a_plus_in_a_path_is_no_conversion(tmp_path: Path) -> None:
    path = tmp_path / "a+b" / "c+lpf3.safetensors"
    path.parent.mkdir()
    plain = load(PLAIN)
    smooth = antialias(plain, 3)
    write_converted(smooth.module, path, fine_tuned=True)
    again = load(f"digits:resnet@{path}")
    assert again.name == f"digits:resnet@{path}"
    assert again.module.meta["fine_tuned"]
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(again.module(x), smooth.module(x))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ('{"method": "apps"}', "unknown anti-aliasing method 'apps'; did you mean aps"),
        ('{"method": "flc", "filter_size": 3}', "flc has no filter"),
        ('{"method": "ddac", "filter_size": 4}', "filter size 4 does not exist for ddac"),
    ],
)
def test_a_file_with_an_impossible_conversion_is_refused(
    tmp_path: Path, how: str, message: str
) -> None:
    path = tmp_path / "a.safetensors"
    save_file(load(PLAIN).module.state_dict(), path, {CONVERSION: how})
    with pytest.raises(CheckpointError, match=message):
        load(f"digits:resnet@{path}")


def test_a_file_of_an_earlier_version_is_a_blur(tmp_path: Path) -> None:
    smooth = antialias(load(PLAIN), 3)
    path = tmp_path / "a.safetensors"
    how = '{"filter_size": 3, "first_conv": false, "max_pool_kernel": null}'
    save_file(smooth.module.state_dict(), path, {CONVERSION: how})
    again = load(f"digits:resnet@{path}")
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(again.module(x), smooth.module(x))


def test_all_training_seeds_are_converted() -> None:
    assert expand("digits:resnet@baseline+aps") == [
        f"digits:resnet@baseline+aps-seed{seed}" for seed in range(3)
    ]
    assert expand("timm:resnet18+flc") == ["timm:resnet18+flc"]


def test_other_libraries_are_converted_too() -> None:
    for name in ("timm:resnet18@random+lpf4", "torchvision:resnet18@random+aps-circular"):
        assert load(name).name == name
