import sys
import warnings

from tests.fuzz.driver import main

warnings.simplefilter("error")
sys.exit(main())
