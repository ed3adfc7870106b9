"""What people may hand in."""

from __future__ import annotations

import warnings

from django import forms
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import UploadedFile
from PIL import Image, UnidentifiedImageError

from photos.paintings import FORMATS
from photos.samples import SAMPLES

MAX_BYTES = 20 * 1024 * 1024
MAX_PIXELS = 60_000_000


class PhotoForm(forms.Form):
    """A photograph of one's own, or the name of a sample, or nothing: then the first sample serves."""

    image = forms.FileField(required=False)
    sample = forms.ChoiceField(required=False, choices=[(slug, slug) for slug in SAMPLES])

    def clean_image(self) -> UploadedFile | None:
        """The file, once Pillow agrees that it is a picture of a bearable size."""
        image: UploadedFile | None = self.cleaned_data["image"]
        if image is not None:
            _check(image)
        return image


def _check(image: UploadedFile) -> None:
    if (image.size or 0) > MAX_BYTES:
        raise ValidationError("This file is larger than 20 MB.", code="too_large")
    try:
        with warnings.catch_warnings(), Image.open(image, formats=FORMATS) as picture:
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            pixels = picture.width * picture.height
            picture.verify()
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise ValidationError("This file is not a picture that can be read.", code="not_an_image") from error
    if pixels > MAX_PIXELS:
        raise ValidationError("This picture has more than 60 million points.", code="too_many_pixels")
    image.seek(0)
