import pickle
import time
import zipfile
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from hostile import FORMS, Payload, write_hostile
from safetensors.torch import save_file

from seglab.networks.tensor_files import DamagedFile, UnsafeFile, read_tensors
from seglab.types import SeglabError


@pytest.mark.parametrize("form", FORMS)
def test_a_payload_is_named_and_not_run(form: str, tmp_path: Path) -> None:
    path = write_hostile(tmp_path / "evil.pth", tmp_path / "executed", form)
    with pytest.raises(UnsafeFile, match=r"evil\.pth holds more than tensors.*'(posix|nt)\.mkdir'.*python -c"):
        read_tensors(path, "weights")
    with pytest.raises(SeglabError):  # nothing in a file of this name is ever read as a pickle
        read_tensors(path.rename(tmp_path / "evil.safetensors"), "weights")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle 0", "pickle 4"])
def test_the_payload_is_a_real_one(form: str, tmp_path: Path) -> None:
    path = write_hostile(tmp_path / "evil.pt", tmp_path / "executed", form)
    if form.startswith("pickle"):
        pickle.loads(path.read_bytes())
    else:
        torch.load(path, weights_only=False)
    assert (tmp_path / "executed").is_dir()


def test_classes_without_a_payload_are_code_too(tmp_path: Path) -> None:
    torch.save({"state_dict": {"a": torch.zeros(1)}, "args": Namespace(lr=1)}, tmp_path / "a.pt")
    with pytest.raises(UnsafeFile, match=r"'argparse\.Namespace'"):
        read_tensors(tmp_path / "a.pt", "weights")


def test_names_from_a_file_cannot_steer_a_terminal(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(b"cos\n\x1b[2Jsystem\n.")
    with pytest.raises(UnsafeFile) as caught:
        read_tensors(tmp_path / "a.pt", "weights")
    assert "\x1b" not in str(caught.value)


def test_a_program_is_refused(tmp_path: Path) -> None:
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / "a.pt"))
    with pytest.raises(UnsafeFile, match="TorchScript"):
        read_tensors(tmp_path / "a.pt", "weights")


@pytest.mark.parametrize("legacy", [True, False])
@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, 0.99])
def test_what_is_cut_is_damaged_and_not_unsafe(legacy: bool, keep: float, tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    torch.save({"a": torch.arange(2000.0)}, path, _use_new_zipfile_serialization=not legacy)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep if keep >= 1 else keep * len(whole))])
    with pytest.raises(DamagedFile, match=r"a\.ckpt is damaged"):
        read_tensors(path, "checkpoint")


@pytest.mark.parametrize("content", [bytes(4096), b"hello world", pickle.dumps({"a": [1]}, protocol=4)])
def test_other_files_are_damaged_and_not_unsafe(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(DamagedFile, match=r"a\.pt"):
        read_tensors(tmp_path / "a.pt", "weights")


def test_one_wrong_bit_of_a_tensor_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    torch.save({"a": torch.full((1000,), 7.0)}, path)
    content = bytearray(path.read_bytes())
    content[content.find(torch.full((10,), 7.0).numpy().tobytes()) + 100] ^= 4
    path.write_bytes(content)
    with pytest.raises(DamagedFile, match="checksum"):
        read_tensors(path, "checkpoint")


def test_tensors_come_back_in_every_format(tmp_path: Path) -> None:
    state = {"a": torch.arange(4.0), "b": torch.ones(2, dtype=torch.bfloat16)}
    torch.save(state, tmp_path / "new.pt")
    torch.save(state, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    save_file(state, tmp_path / "a.safetensors")
    for path in tmp_path.iterdir():
        read = read_tensors(path, "weights")
        assert all(torch.equal(read[name], state[name]) for name in state)


def test_absence_is_neither(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.pt", tmp_path):
        with pytest.raises(SeglabError, match=str(path)) as caught:
            read_tensors(path, "weights")
        assert type(caught.value) is SeglabError


def test_a_payload_behind_a_second_pickle_of_an_archive_is_not_run(tmp_path: Path) -> None:
    """torch reads data.pkl alone; whatever else lies in the archive stays bytes."""
    torch.save({"a": torch.zeros(1)}, tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "a.pt", "a") as archive:
        archive.writestr("a/other.pkl", pickle.dumps(Payload(tmp_path / "executed")))
    assert torch.equal(read_tensors(tmp_path / "a.pt", "weights")["a"], torch.zeros(1))
    assert not (tmp_path / "executed").exists()


def test_an_archive_that_grows_is_refused_by_its_size(tmp_path: Path) -> None:
    """A pickle of a megabyte that unpacks to a gigabyte would hold the reader for minutes."""
    path = tmp_path / "bomb.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02]q\x00(" + b"K\x01" * (1 << 24) + b"e.")
        archive.writestr("archive/version", "3\n")
    assert path.stat().st_size < 1 << 18
    start = time.process_time()
    with pytest.raises(UnsafeFile, match=r"bomb.pth takes [\d,]+ bytes and unpacks to 33,554,4.*refused"):
        read_tensors(path, "checkpoint")
    assert time.process_time() - start < 1
