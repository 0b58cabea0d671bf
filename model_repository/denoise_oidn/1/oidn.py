"""Open Image Denoise through its C interface: an LDR picture in, the same picture without its noise out."""

import ctypes
from pathlib import Path

import numpy as np

LIBRARY = "libOpenImageDenoise.so.2"
# The entry library looks for these where the linker looks, so they are loaded by path first.
LOADED_FIRST = ("libtbb.so.12", "libOpenImageDenoise_core.so.2.5.1")
CPU, FLOAT3 = 1, 3  # OIDN_DEVICE_TYPE_CPU, OIDN_FORMAT_FLOAT3
OUT_OF_MEMORY, CANCELLED = 4, 6  # OIDN_ERROR_OUT_OF_MEMORY, OIDN_ERROR_CANCELLED

Monitor = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p, ctypes.c_double)
Handle, Size, Name = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p
SIGNATURES = {
    "oidnNewDevice": (Handle, [ctypes.c_int]),
    "oidnSetDeviceInt": (None, [Handle, Name, ctypes.c_int]),
    "oidnSetDeviceBool": (None, [Handle, Name, ctypes.c_bool]),
    "oidnCommitDevice": (None, [Handle]),
    "oidnReleaseDevice": (None, [Handle]),
    "oidnGetDeviceError": (ctypes.c_int, [Handle, ctypes.POINTER(Name)]),
    "oidnNewFilter": (Handle, [Handle, Name]),
    "oidnSetSharedFilterImage": (
        None,
        [Handle, Name, ctypes.c_void_p, ctypes.c_int, Size, Size, Size, Size, Size],
    ),
    "oidnSetFilterInt": (None, [Handle, Name, ctypes.c_int]),
    "oidnSetFilterProgressMonitorFunction": (None, [Handle, Monitor, ctypes.c_void_p]),
    "oidnCommitFilter": (None, [Handle]),
    "oidnExecuteFilter": (None, [Handle]),
    "oidnReleaseFilter": (None, [Handle]),
}


class OidnError(Exception):
    """The library refused or failed; `code` is its OIDNError."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


class Denoiser:
    """One device on `threads` CPU threads; not to be called from several threads at once."""

    def __init__(self, directory, threads, memory_mib):
        """`memory_mib` is what one picture may take beside itself; larger ones are tiled by the library.

        Loads the libraries that lie in `directory`. Raises OSError when one is missing or for another platform.
        """
        self.memory_mib = memory_mib
        for name in LOADED_FIRST:
            ctypes.CDLL(str(Path(directory) / name), ctypes.RTLD_GLOBAL)
        self.library = ctypes.CDLL(str(Path(directory) / LIBRARY))
        for name, (result, arguments) in SIGNATURES.items():
            function = getattr(self.library, name)
            function.restype, function.argtypes = result, arguments
        self.device = self.library.oidnNewDevice(CPU)
        if not self.device:
            raise OidnError(self.error(None)[0], f"no CPU device: {self.error(None)[1]}")
        self.library.oidnSetDeviceInt(self.device, b"numThreads", threads)
        # Pinning would put every model's process on the same cores.
        self.library.oidnSetDeviceBool(self.device, b"setAffinity", False)
        self.library.oidnCommitDevice(self.device)
        self.check()

    def denoise(self, picture, proceed=lambda: True):
        """FP32 [H, W, 3] in [0, 1] -> the same, denoised. Raises OidnError.

        The values are given out as linear ones though a picture's are sRGB: with the library's `srgb` set, Gaussian
        noise of sigma 25 on photographs came to 27.7 dB instead of 29.0, and of 50 to 19.2 instead of 22.3.
        `proceed()` is asked now and then; a no ends the work in OidnError with the code CANCELLED.
        """
        height, width, _ = picture.shape
        source, result = np.ascontiguousarray(picture, np.float32), np.empty_like(picture, np.float32)
        library, filter_ = self.library, self.library.oidnNewFilter(self.device, b"RT")
        monitor = Monitor(lambda _, share: bool(proceed()))
        try:
            for name, image in ((b"color", source), (b"output", result)):
                library.oidnSetSharedFilterImage(
                    filter_, name, image.ctypes.data, FLOAT3, width, height, 0, 0, 0
                )
            library.oidnSetFilterInt(filter_, b"maxMemoryMB", self.memory_mib)
            library.oidnSetFilterProgressMonitorFunction(filter_, monitor, None)
            library.oidnCommitFilter(filter_)
            library.oidnExecuteFilter(filter_)
            self.check()
        finally:
            library.oidnReleaseFilter(filter_)
        return result

    def check(self):
        """Raise what the device has to complain of."""
        code, message = self.error(self.device)
        if code:
            raise OidnError(code, message)

    def error(self, device):
        """(code, text) of the last error, which this call clears."""
        message = Name()
        code = self.library.oidnGetDeviceError(device, ctypes.byref(message))
        return code, (message.value or b"").decode(errors="replace")

    def close(self):
        """Release the device."""
        self.library.oidnReleaseDevice(self.device)
