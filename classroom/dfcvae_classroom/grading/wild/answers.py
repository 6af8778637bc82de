"""Model answers for each fault: what to write about it, and the test that would have caught it.

The tests stand here as functions of a class, as they stand in the notebook, where ``small_vgg`` is defined.
"""

import torch

from dfcvae_classroom.grading.wild.program import small_vgg

EXPLANATIONS = {
    "range": "The decoder ends in a Tanh, so images come out in [-1, 1] while the originals are in [0, "
    "1]. The loss still falls, because the network learns not to use the lower half; dark "
    "pixels sit where Tanh is flat or below 0, and a picture writer that stretches each "
    "picture to its own range hides it. PSNR and the judge see numbers that no picture has.",
    "normalise": "The VGG was trained on images from which ImageNet's mean was taken and which were "
    "divided by its standard deviation. Here it sees raw [0, 1]. Its features exist and the "
    "loss falls, but they are those of a dark, flat picture: responses are weaker, other "
    "ReLUs are open, and a beta that was tuned on normalised features weighs something else.",
    "mode": "model.train() is called before every epoch and reaches all submodules: the `.eval()` of "
    "the constructor is undone. Batch norm then uses the batch's own mean and variance, so "
    "original and reconstruction are each normalised by their own batch, which hides "
    "differences of colour and contrast, and its running statistics move at each step "
    "although no weight has a gradient. Today's loss and yesterday's are measured with two "
    "rulers.",
    "layers": "The numbers 14, 24, 34, 43 of vgg19_bn are conv3_1, two batch norms and conv5_2: none is "
    "a layer of the paper (relu1_1, relu2_1, relu3_1 are 2, 9, 16). The loss runs and falls, "
    "but the shallow layers, which hold colours and edges, are never asked, so pictures lose "
    "fine detail, and the numbers compare with nobody's.",
    "in place": "A feature map is put into the list, and the ReLU behind it works in place: it writes "
    "into the same memory before anybody reads it. A batch norm's output comes back without "
    "its negative half. The loss is blind to all differences below zero, no error is raised, "
    "and it shows only for layers before a ReLU.",
    "checkpoint": "requires_grad=False stops gradients, and nothing else. The VGG is still in parameters(), "
    "so it is handed to the optimizer, and in state_dict(), so every checkpoint carries it: "
    "575 MB with a real VGG beside a few million trained numbers. A checkpoint then loads "
    "only where the same VGG is there.",
    "size": "128 x 4 x 4 is written into the program: it is right for 64 pixels, four levels and a "
    "last level of 128 channels alone. Any other size, depth or width stops with an error "
    "about the shapes of a matrix product, far from the argument that caused it, and "
    "image_size has no effect.",
    "reverse": "list.reverse() works on the caller's own list. The first model is right; the next that "
    "is built from the same list, or a checkpoint that is reloaded with it, is upside down, "
    "and a settings file that is written afterwards says something that was never trained. A "
    "tuple stops with an error.",
    "log_var": "The encoder's log_var is unbounded. One bad step, or a learning rate of 0.005, makes it "
    "large; exp(log_var) overflows at 88, the KL is infinite and its gradient is NaN, and "
    "from there on so are all weights. Training looks healthy until the step at which "
    "everything is lost.",
    "generate": "generate calls forward, which draws z: two calls give two pictures. What is shown and "
    "measured as the reconstruction has noise in it, PSNR is too low and changes from run to "
    "run, and two models cannot be compared picture by picture.",
}


def test_range(Model):
    """P1: images in [0, 1], and few pixels that stand at an end."""
    torch.manual_seed(0)
    model, z = Model(small_vgg()).eval(), torch.randn(8, 32)
    far, near = model.decode(1000 * z), model.decode(10 * z)
    assert 0 <= far.min() and far.max() <= 1
    assert ((near == 0) | (near == 1)).float().mean() < 0.05


def test_normalise(Model):
    """P2: relu1_1 is what the VGG makes of normalised images."""
    trunk, x = small_vgg(), torch.rand(2, 3, 64, 64)
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]).view(2, 3, 1, 1)
    torch.testing.assert_close(Model(trunk, layers=(2,)).eval().features(x)[0], trunk[:3]((x - mean) / std))


def test_mode(Model):
    """P3: an image's features are the same in a batch, alone, in eval, in training and after it."""
    model, x = Model(small_vgg()).eval(), torch.rand(4, 3, 64, 64)
    before = [phi.clone() for phi in model.features(x)]
    model.train()
    together, alone = model.features(x), model.features(x[:1])
    model.loss_function(x, *model(x))
    after = model.eval().features(x)
    for first, second, third, fourth in zip(before, together, alone, after, strict=True):
        torch.testing.assert_close(second, first)
        torch.testing.assert_close(third, first[:1])
        torch.testing.assert_close(fourth, first)


def test_layers(Model):
    """P4: unless told otherwise, the judge compares relu1_1, relu2_1 and relu3_1."""
    trunk, x = small_vgg(), torch.rand(2, 3, 64, 64)
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]).view(2, 3, 1, 1)
    expected = [trunk[: number + 1]((x - mean) / std) for number in (2, 9, 16)]
    found = Model(trunk).eval().features(x)
    assert len(found) == 3
    for phi, right in zip(found, expected, strict=True):
        torch.testing.assert_close(phi, right)


def test_in_place(Model):
    """P5: a batch norm before an in-place ReLU comes back as it was, and with a gradient."""
    trunk, x = small_vgg(), torch.rand(2, 3, 64, 64, requires_grad=True)
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]).view(2, 3, 1, 1)
    # Layer 5, the ReLU, is asked for as well: behind the last layer nothing is left to write into it.
    found, _ = Model(trunk, layers=(4, 5)).eval().features(x)
    torch.testing.assert_close(found, trunk[:5]((x - mean) / std))
    found.square().sum().backward()
    assert x.grad.abs().sum() > 0


def test_checkpoint(Model):
    """P6: neither optimizer nor checkpoint knows the judge, and it moves with the model all the same."""
    model = Model(small_vgg())
    assert not [name for name, _ in model.named_parameters() if "judge" in name]
    assert not [name for name in model.state_dict() if "judge" in name]
    model.double().features(torch.rand(1, 3, 64, 64, dtype=torch.float64))


def test_size(Model):
    """P7: other sizes, depths and widths than 64 pixels, four levels and 128 channels."""
    for size, channels in ((32, [8, 16]), (96, [4, 8, 12]), (64, [8, 8, 8, 8, 16])):
        x = torch.rand(2, 3, size, size)
        model = Model(small_vgg(), image_size=size, channels=channels)
        assert model(x)[0].shape == model.sample(2).shape == x.shape


def test_reverse(Model):
    """P8: the caller's list stays as it was, and a tuple is as good."""
    channels = [8, 12, 10, 128]
    Model(small_vgg(), channels=channels)
    assert channels == [8, 12, 10, 128]
    Model(small_vgg(), channels=tuple(channels))


def test_log_var(Model):
    """P9: a wild encoder gives a bounded log_var and a finite loss; a tame one is left alone."""
    model, x = Model(small_vgg()), torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        model.to_log_var.weight.zero_()
        model.to_log_var.bias.fill_(3.0)
        torch.testing.assert_close(model.encode(x)[1], torch.full((2, 32), 3.0), rtol=0.1, atol=0)
        model.to_log_var.bias.fill_(1e4)
    x_hat, mu, log_var = model(x)
    assert log_var.abs().max() <= 30
    assert x_hat.isfinite().all() and model.loss_function(x, x_hat, mu, log_var)["loss"].isfinite()


def test_generate(Model):
    """P10: generate decodes mu, and forward draws, in eval too."""
    model, x = Model(small_vgg()).eval(), torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(model.generate(x), model.decode(model.encode(x)[0]))
    assert not torch.equal(model(x)[0], model(x)[0])


TESTS = {
    "range": test_range,
    "normalise": test_normalise,
    "mode": test_mode,
    "layers": test_layers,
    "in place": test_in_place,
    "checkpoint": test_checkpoint,
    "size": test_size,
    "reverse": test_reverse,
    "log_var": test_log_var,
    "generate": test_generate,
}
for _function in TESTS.values():
    _function.__test__ = False  # pytest is not to collect them where they are imported
