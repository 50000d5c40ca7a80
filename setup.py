"""What pyproject.toml cannot say: the YAML files of experiments/ are installed as data of the package seglab."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["seglab*"]), "seglab.experiments"],
    package_dir={"seglab.experiments": "experiments"},
    package_data={"seglab.experiments": ["*/*.yaml"], "seglab.report": ["web/*"]},
)
