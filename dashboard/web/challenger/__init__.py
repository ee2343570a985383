"""HTTP of the challenger: what scores in shadow, and how it compares with the champion."""
