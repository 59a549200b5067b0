"""Optional packages, and the extra of this package that installs each."""

EXTRAS = {
    "segmentation_models_pytorch": "smp",
    "timm": "smp",
    "transformers": "transformers",
    "monai": "monai",
    "dynamic_network_architectures": "nnunet",
    "pycocotools": "coco",
    "nibabel": "nifti",
    "pydicom": "dicom",
    "imagecodecs": "imagecodecs",
    "pyarrow": "parquet",
    "playwright": "browser",
    "mlflow": "mlflow",
    "wandb": "wandb",
    "ray": "ray",
    "rasterio": "geotiff",
    "zarr": "zarr",
    "fsspec": "s3",
    "s3fs": "s3",
    "gcsfs": "gs",
    "adlfs": "az",
    "huggingface_hub": "hf",
}
"""Module that something may need -> the extra that installs it."""


def missing(what: str, module: str) -> str:
    """The line for a user who lacks a module of :data:`EXTRAS`: `what` needs it, and its cure."""
    return (
        f"{what} needs the package {module}; install it by pip install "
        f"'conceptseg[{EXTRAS[module]}]'"
    )
