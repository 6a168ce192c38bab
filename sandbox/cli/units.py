"""What tables call the meter units."""

NAMES = {
    "physics_step": "physics steps",
    "pixel": "pixels",
    "raw_byte": "raw bytes",
    "reset": "resets",
    "simulation_us": "simulating, nominal us",
    "drawing_us": "drawing, nominal us",
    "train_step": "updates of a model",
    "imagined_step": "imagined steps",
    "imagined_pixel": "imagined pixels",
    "model_mflop": "computed by a model, MFLOP",
}
