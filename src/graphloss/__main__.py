import sys

from graphloss.cli.main import main

sys.exit(main())
