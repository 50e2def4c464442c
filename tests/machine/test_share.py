"""What the processes of a job do together, as far as one process can tell; the rest is in tests/training."""

from types import SimpleNamespace

import pytest
import torch
from conftest import fresh
from torch import nn

from flyweight.errors import FlyweightError
from flyweight.machine import launched, together
from flyweight.networks.layers import Dropout
from flyweight.networks.whole import WholeBatch
from flyweight.training.checks import check_trainable


@pytest.fixture
def three(monkeypatch):
    monkeypatch.setattr(together, "processes", lambda: SimpleNamespace(process_index=1, num_processes=3))


def test_torchrun_says_which_process_this_is(monkeypatch):
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert (launched.rank(), launched.world()) == (0, 1)  # a batch system sets them, too
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert (launched.rank(), launched.world()) == (2, 4)
    monkeypatch.setenv("WORLD_SIZE", "many")
    assert launched.world() == 1


@pytest.mark.usefixtures("three")
def test_a_batch_that_is_too_small_to_share_is_refused():
    assert together.my_share(5).places.tolist() == [1, 3]
    with pytest.raises(FlyweightError, match=r"^train.batch_size: 4 images are too few for 3 .* choose 5 or more"):
        together.my_share(4)


@pytest.mark.usefixtures("three")
@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_torchscript_is_refused_by_several_processes(striped, recipe):
    scripted = torch.jit.trace(fresh(recipe, striped).eval(), torch.zeros(2, 3, 32, 32))
    with pytest.raises(FlyweightError, match="is TorchScript, whose batch norms see one process's images"):
        check_trainable(scripted, striped, recipe)


def test_what_differs_is_named_with_its_process(monkeypatch):
    facts = {"train.seed": 0, "the data's fingerprint": "a" * 64}
    monkeypatch.setattr(together, "of_all", lambda own: [own, own, own | {"the data's fingerprint": "b" * 64}])
    with pytest.raises(FlyweightError, match=r"^the data's fingerprint is 'a+… in the first .* 'b+… in process 3"):
        together.agree_on(facts)
    monkeypatch.setattr(together, "of_all", lambda own: [own, dict(own)])
    together.agree_on(facts)


def test_without_a_store_each_process_tells_its_own_error(monkeypatch):
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    assert together.to_be_told("no data") == "no data"
    for name, value in {"LOCAL_RANK": "1", "RANK": "1", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    assert together.to_be_told("no data").startswith("no data (process 2 of 2, on ")


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("shape", [(6, 8, 5, 3), (6, 8), (6, 8, 4)])
def test_the_norm_of_a_whole_batch_is_torchs_own_where_one_process_has_it(kind, affine, shape):
    norms = [{2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d}[len(shape)](8, affine=affine) for _ in range(2)]
    x, gradient = torch.randn(shape).to(kind) + 3, torch.randn(shape).to(kind)
    results = []
    for norm, mode in zip(norms, (WholeBatch(), torch.enable_grad()), strict=True):
        norm.to(torch.promote_types(kind, torch.float32))
        own = x.clone().requires_grad_()
        with mode:
            out = norm(own)
        out.backward(gradient)
        assert (out.dtype, own.grad.dtype) == (kind, kind)
        results.append([out.detach(), own.grad, *(one.grad for one in norm.parameters()), *norm.buffers()])
    exact = {torch.float32: 1e-5, torch.float64: 1e-12, torch.bfloat16: 2e-2}[kind]
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=exact, atol=exact)
    norm = norms[0].eval()
    with WholeBatch():
        tested = norm(x)
    assert torch.equal(tested, norm(x))


@pytest.mark.parametrize("size", [8, 9])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_each_process_takes_its_part_of_one_mask(size, layout):
    x = torch.ones(size, 3, 5, 3).to(memory_format=layout)
    whole = Dropout(0.4)
    torch.manual_seed(0)
    mask, after = whole(x), torch.rand(())
    for rank in range(3):
        part = Dropout(0.4)
        part.share = together.Share(size, rank, 3)
        places = torch.from_numpy(part.share.places)
        torch.manual_seed(0)
        assert torch.equal(part(x[places].to(memory_format=layout)), mask[places])
        assert torch.equal(torch.rand(()), after)
