"""The names of the public interface and what comes out of them: programs and notebooks rely on both."""

import inspect

import torch

import dfcvae

ARGUMENTS = {
    dfcvae.VAE: "image_size latent_dim channels",
    dfcvae.VGGFeatures: "arch layers weights mean std seed pooling",
    dfcvae.PerceptualLoss: "vgg reduction layer_weights",
    dfcvae.DFCVAE: "preset features image_size latent_dim channels alpha beta layer_weights",
    dfcvae.VAE.reparameterize: "self mu log_var generator epsilon",
    dfcvae.VAE.sample: "self n temperature prior generator",
    dfcvae.VAE.generate: "self x",
    dfcvae.kl_divergence: "mu log_var",
    dfcvae.train: "model images out validation device progress settings",
    dfcvae.load_run: "out device",
}


def test_arguments_have_their_names():
    for function, names in ARGUMENTS.items():
        found = list(inspect.signature(function).parameters)
        assert found[: len(names.split())] == names.split(), function


def test_the_interface_from_images_to_a_trained_model(vgg_file, tmp_path):
    images = dfcvae.load("faces", split="train", size=64, n=16)
    assert images.pixels.shape == (16, 3, 64, 64) and images.pixels.dtype == torch.uint8
    assert images.attributes.shape == (16, len(images.attribute_names))
    assert images.factors.shape == (16, len(images.factor_names))
    assert dfcvae.faces.draw(images.factors, size=64).equal(images.pixels)

    x = images.float()
    model = dfcvae.DFCVAE(preset="vae-123", features=vgg_file)
    mu, log_var = model.encode(x)
    assert mu.shape == log_var.shape == (16, 100)
    assert model.decode(mu).shape == model.generate(x).shape == x.shape
    assert model.sample(2, temperature=0.5).shape == (2, 3, 64, 64)
    out = model(x)
    assert out.reconstruction.shape == x.shape and out.mu.shape == (16, 100)
    assert {"loss", "kl", "reconstruction"} <= model.loss_function(out, x).keys()
    assert dfcvae.kl_divergence(mu, log_var).shape == ()
    vgg = dfcvae.VGGFeatures(weights=vgg_file)
    assert list(vgg(x)) == ["relu1_1", "relu2_1", "relu3_1"]
    loss = dfcvae.PerceptualLoss(vgg)
    assert loss(x, x).shape == () and list(loss.per_layer(x, x)) == list(vgg.layers)

    run = dfcvae.train(model, images, out=tmp_path / "run", steps=2, batch_size=8, progress=False)
    assert run.model is model and run.config["training"]["steps"] == run.metrics[-1]["step"] == 2
    assert dfcvae.load_run(tmp_path / "run").generate(x).shape == x.shape
