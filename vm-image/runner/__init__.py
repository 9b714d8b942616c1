"""Boots the image in QEMU and believes only what the guest's checks say.

``images`` puts kernel and archives together, ``lab`` what the guest's test hosts need, ``machine``
is one boot, ``scenarios`` says which boots there are and how each ends, ``matrix`` goes over
kernels and suites. Nothing here asks the network for anything.
"""
