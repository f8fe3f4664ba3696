"""Package for colcon (ROS 2) and for plain pip; ``package.xml`` lists what comes from ROS."""

from __future__ import annotations

from glob import glob
from pathlib import Path
import re

from setuptools import find_packages, setup

PACKAGE = 'sim2real_policy'
INIT = Path(__file__).parent / PACKAGE / '__init__.py'
VERSION = re.findall(r"^__version__ = '(.+)'$", INIT.read_text(encoding='utf-8'), re.MULTILINE)[0]

setup(
    name=PACKAGE,
    version=VERSION,
    description='Run a policy trained in Isaac Lab on a real robot, exactly as in training.',
    maintainer='sim2real_policy maintainers',
    maintainer_email='maintainers@example.com',
    license='Apache-2.0',
    packages=find_packages(include=[PACKAGE, f'{PACKAGE}.*']),
    package_data={
        PACKAGE: ['py.typed'],
        f'{PACKAGE}.simulation': ['pup/*', 'pup/bundle/*'],
    },
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{PACKAGE}']),
        (f'share/{PACKAGE}', ['package.xml']),
        (f'share/{PACKAGE}/launch', sorted(glob('launch/*.launch.py'))),
        (f'share/{PACKAGE}/config', sorted(glob('config/*.yaml'))),
    ],
    # The simulated robot reads its model and bundle as files next to the code.
    zip_safe=False,
    python_requires='>=3.10',
    install_requires=['numpy>=1.21', 'pyyaml', 'pydantic>=2'],
    extras_require={
        'onnxruntime': ['onnxruntime'],
        'demo': ['onnxruntime', 'mujoco', 'rosbags', 'matplotlib', 'tqdm'],
        'export': ['torch', 'onnx', 'onnxruntime'],
        # TensorRT itself comes with JetPack, for the Python of the system.
        'tensorrt': ['pycuda'],
        # Without pytest-cov: colcon would measure coverage a second time.
        'test': ['pytest', 'pytest-timeout', 'hypothesis', 'onnx'],
    },
    entry_points={
        'console_scripts': [
            f'policy_node = {PACKAGE}.policy_node:main',
            f'sim_robot_node = {PACKAGE}.simulation.sim_robot_node:main',
            f'demo = {PACKAGE}.simulation.demo:main',
            f'demo_driver = {PACKAGE}.simulation.demo_driver:main',
            f'export_onnx = {PACKAGE}.offline.export_onnx:main',
            f'build_engine = {PACKAGE}.offline.build_engine:main',
            f'benchmark = {PACKAGE}.offline.benchmark:main',
        ],
    },
)
