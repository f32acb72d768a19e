"""`python -m tao_lite.cli`, also under torchrun."""

from tao_lite.cli.main import main

main()
