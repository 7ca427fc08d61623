"""Engine.IO protocol v3, which the clients of Socket.IO 2 speak: what it does otherwise than v4.

Rule of this package: each module is the difference to the module of the same name outside. Nothing of it is touched
for the sake of a v4 client, and without `allow_eio3` nothing of it runs.

Source: Engine.IO protocol v3; what it leaves open is as in the original server and in `engine.io-parser` 2.
"""
