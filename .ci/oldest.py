"""Print pins of the oldest release of each package that setup.cfg allows, for `pip install`."""

from __future__ import annotations

import re
from configparser import ConfigParser
from pathlib import Path

config = ConfigParser()
config.read(Path(__file__).parents[1] / "setup.cfg")
required = f"{config['options']['install_requires']}\n{config['options.extras_require']['video']}"
print(*(f"{name}=={oldest}.*" for name, oldest in re.findall(r"([\w-]+)>=([\d.]+)", required)))
