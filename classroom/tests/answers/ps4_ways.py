"""More right repairs of problem set 4, each by inheritance: the faults that they mend, how -> source."""

HEAD = """
class Repaired(WildDFCVAE):
    def __init__(
        self, trunk, image_size=64, latent_dim=32, channels=None, layers=(2, 9, 16), alpha=1.0, beta=0.5
    ):
        channels = [16, 32, 64, 128] if channels is None else list(channels)
        super().__init__(trunk, image_size, latent_dim, channels, layers, alpha, beta)
"""
GRID = """
        side = image_size // 2 ** len(channels)
        self.shape = channels[-1], side, side
        flat = channels[-1] * side * side
        self.to_mu, self.to_log_var = nn.Linear(flat, latent_dim), nn.Linear(flat, latent_dim)
        self.from_z = nn.Linear(latent_dim, flat)
"""
OTHERS = """
    def features(self, x):
        mean, std = x.new_tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[..., None, None]
        return self.judge(x.sub(mean).div(std))

    def generate(self, x):
        with torch.no_grad():
            return self.decode(self.encode(x)[0])
"""

ODD = {"range", "mode", "in place", "size", "log_var"}
EVEN = {"normalise", "layers", "checkpoint", "reverse", "generate"}
WAYS = {
    "parts replaced": (
        ODD,
        HEAD
        + GRID
        + """
        self.decoder[-1] = nn.Sigmoid()
        for layer in self.judge.trunk:
            if isinstance(layer, nn.ReLU):
                layer.inplace = False

    def train(self, mode=True):
        super().train(mode)
        self.judge.eval()
        return self

    def encode(self, x):
        mu, log_var = super().encode(x)
        return mu, F.hardtanh(log_var, -25.0, 25.0)

    def decode(self, z):
        return self.decoder(self.from_z(z).unflatten(1, self.shape))
""",
    ),
    "features written in the model": (
        ODD,
        HEAD
        + GRID
        + """
    def features(self, x):
        self.judge.eval()
        mean, std = x.new_tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[..., None, None]
        h, maps = (x - mean) / std, []
        for number, layer in enumerate(self.judge.trunk):
            h = layer(h.clone())
            if number in self.judge.layers:
                maps.append(h)
        return maps

    def encode(self, x):
        mu, log_var = super().encode(x)
        return mu, torch.clip(log_var, min=-8, max=8)

    def decode(self, z):
        return (self.decoder(self.from_z(z).reshape(len(z), *self.shape)) + 1) / 2
""",
    ),
    "parameters made buffers": (
        EVEN,
        HEAD
        + """
        for part in self.judge.modules():
            for name, tensor in list(part.named_parameters(recurse=False)):
                delattr(part, name)
                part.register_buffer(name, tensor.detach(), persistent=False)
            part._non_persistent_buffers_set.update(part._buffers)
"""
        + OTHERS,
    ),
    "filtered from every list": (
        EVEN,
        HEAD
        + OTHERS
        + """
    def named_parameters(self, *given, **options):
        return ((n, p) for n, p in super().named_parameters(*given, **options) if "judge" not in n)

    def state_dict(self, *given, **options):
        state = super().state_dict(*given, **options)
        return {name: tensor for name, tensor in state.items() if not name.startswith("judge.")}

    def load_state_dict(self, state, strict=True, **options):
        return super().load_state_dict(state, strict=False, **options)
""",
    ),
    "hidden in a list": (
        EVEN,
        HEAD
        + """
        hidden = self.judge.eval()
        del self.judge
        self.hidden = [hidden]

    judge = property(lambda self: self.hidden[0])

    def _apply(self, change, recurse=True):
        self.judge._apply(change)
        return super()._apply(change)

    def train(self, mode=True):
        super().train(mode)
        self.judge.eval()
        return self
"""
        + OTHERS,
    ),
}
