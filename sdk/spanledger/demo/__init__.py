"""A demonstration: a support assistant that never was, told as a month of interactions through the real SDK.

`story` decides what happens (pure, the same for the same seed), `voices` has the words, `play` says it through `spanledger`,
`run` is the command. Everything it writes is in the project `demo` and carries the tag `demo=true`.
"""
