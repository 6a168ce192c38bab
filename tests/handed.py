"""Exports of the ramp: how each format that needs no other package may call one."""

from ramps import LENGTHS

LONG = [rows for rows in LENGTHS if rows > 1]
NAMES = {
    "swm": "ramp.h5",
    "minari": "ramp-v0",
    "robomimic": "ramp.hdf5",
    "webdataset": "ramp",
    "dreamer": "ramp",
    "ogbench": "ramp.npz",
}
SEVERAL = ("webdataset", "dreamer")  # Formats of several files, which go on after a kill.
