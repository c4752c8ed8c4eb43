"""Draws simulated lesions into real tissue, and returns their outlines. Two kinds suggest cancer, two are benign.

The grey of film is inverted optical density, so it is linear in log exposure, and the densities along an X-ray add up.
A lesion is therefore a density (in grey levels, >= 0) that is added to the tissue, which stays visible through it.
`expose` models the film's toe. Sizes suit film that is digitised at about 50 micrometres per pixel (DDSM: 42 to 50).

Every lesion function takes a Generator, the region (H x W float32, grey 0 to 255) and a site, and returns the changed
region and the outline. It changes no pixel that is further from the site's centre than the site's reach.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage
from scipy.spatial import ConvexHull

Grey = NDArray[np.float32]
Points = NDArray[np.float64]  # N x 2, (row, column) in pixels
Outline = tuple[tuple[float, float], ...]

PIXELS_PER_MM = 20.0
_WHITE = 250.0  # the grey of unexposed film, which no density can exceed
_FILM_BLUR = 1.1  # sigma in pixels, about 0.055 mm: the blur of screen, film and digitiser together
_FINER = 3  # strokes and specks are drawn at this multiple of the resolution, then averaged
_AROUND = np.linspace(0.0, 2.0 * math.pi, 72, endpoint=False)  # the angles of an outline's vertices


@dataclass(frozen=True)
class Site:
    """Where a lesion may lie in its region: the circle of `reach` pixels about (row, column)."""

    row: float
    column: float
    reach: float


LesionFunction = Callable[[Generator, Grey, Site], tuple[Grey, Outline]]


def spiculated_mass(rng: Generator, region: Grey, site: Site) -> tuple[Grey, Outline]:
    """Draw a mass of irregular shape, spiculated margin and high density (BI-RADS terms). It suggests cancer."""
    core = site.reach * rng.uniform(0.32, 0.46)
    radius = _wobbly_radius(rng, core, roughness=0.20, lobes=(2, 3, 4, 5, 7))
    contrast = rng.uniform(45.0, 80.0)
    body = ndimage.gaussian_filter(_dome(region.shape, site, radius, power=0.65), 0.07 * core)
    spicules, tips = _spicules(rng, region.shape, site, core)
    density = contrast * (body + rng.uniform(0.35, 0.55) * spicules) * _lumps(rng, region.shape, 0.15)
    return _settle(region, density, site), _star(site, np.maximum(radius(_AROUND), tips))


def circumscribed_mass(rng: Generator, region: Grey, site: Site) -> tuple[Grey, Outline]:
    """Draw an oval or round mass of circumscribed margin and equal to low density (BI-RADS terms). It is typically
    benign."""
    size = site.reach * rng.uniform(0.50, 0.80)
    radius = _oval_radius(rng, size)
    contrast = rng.uniform(26.0, 56.0)
    body = _dome(region.shape, site, radius, power=rng.uniform(0.35, 0.55)) * contrast
    halo = _rim(region.shape, site, radius, width=0.06 * size) * rng.uniform(0.0, 9.0)
    density = ndimage.gaussian_filter(body - halo, 1.6 * _FILM_BLUR) * _lumps(rng, region.shape, 0.06)
    return _settle(region, density, site), _star(site, radius(_AROUND))


def pleomorphic_calcifications(rng: Generator, region: Grey, site: Site) -> tuple[Grey, Outline]:
    """Draw a group of fine pleomorphic and fine-linear or branching calcifications (BI-RADS terms). It suggests
    cancer."""
    places = _cluster(rng, site, count=int(rng.integers(22, 60)))
    linear = rng.uniform(0.10, 0.40)
    canvas = _Strokes(region.shape)
    for place in places:
        (_fine_linear if rng.random() < linear else _granule)(rng, canvas, place)
    density = canvas.density() * rng.uniform(90.0, 150.0)
    return _settle(region, density, site), _hull(places, margin=0.5 * PIXELS_PER_MM)


def calcified_vessel(rng: Generator, region: Grey, site: Site) -> tuple[Grey, Outline]:
    """Draw vascular calcifications: parallel tracks along a tubular structure (BI-RADS terms). They are typically
    benign."""
    middle, normals = _vessel_path(rng, site)
    half_width = rng.uniform(0.40, 0.95) * PIXELS_PER_MM
    tracks = _Strokes(region.shape)
    for side in (-1.0, 1.0):
        _calcified_wall(rng, tracks, middle + side * half_width * normals)
    lumen = _Strokes(region.shape)
    lumen.band(middle - half_width * normals, middle + half_width * normals, 1.0)
    soft = ndimage.gaussian_filter(lumen.density(), 0.25 * half_width) * rng.uniform(6.0, 14.0)
    density = tracks.density() * rng.uniform(85.0, 135.0) + soft
    edge = (half_width + 0.2 * PIXELS_PER_MM) * normals
    return _settle(region, density, site), _polygon(np.concatenate([middle - edge, (middle + edge)[::-1]]))


LESIONS: dict[str, LesionFunction] = {
    "spiculated_mass": spiculated_mass,
    "pleomorphic_calcifications": pleomorphic_calcifications,
    "circumscribed_mass": circumscribed_mass,
    "calcified_vessel": calcified_vessel,
}
CANCEROUS = frozenset({"spiculated_mass", "pleomorphic_calcifications"})


def expose(tissue: Grey, density: Grey) -> Grey:
    """Add density (grey levels) to tissue as film does: fully in the middle of the scale, less and less near white."""
    room = np.maximum(_WHITE - tissue, 1.0)
    added = np.where(density > 0.0, room * -np.expm1(-np.maximum(density, 0.0) / room), density)
    return np.asarray(np.clip(tissue + added, 0.0, 255.0), dtype=np.float32)


def _settle(region: Grey, density: NDArray[np.floating], site: Site) -> Grey:
    """Add the density to the region, and fade it out between 0.9 and 1.0 of the site's reach."""
    distance, _ = _polar(region.shape, site)
    fade = np.clip((site.reach - distance) / (0.1 * site.reach), 0.0, 1.0)
    return expose(region, (density * fade).astype(np.float32))


def _polar(shape: tuple[int, ...], site: Site) -> tuple[Grey, Grey]:
    """Return the distance (pixels) and angle (radians, -pi to pi) of each pixel from the site's centre."""
    rows = np.arange(shape[0], dtype=np.float32)[:, None] - np.float32(site.row)
    columns = np.arange(shape[1], dtype=np.float32)[None, :] - np.float32(site.column)
    return np.hypot(rows, columns), np.arctan2(rows, columns)


RadiusAt = Callable[[NDArray[np.floating]], NDArray[np.floating]]


def _wobbly_radius(rng: Generator, mean: float, roughness: float, lobes: tuple[int, ...]) -> RadiusAt:
    """Return a closed irregular curve: the radius in pixels as a function of the angle, a short Fourier series."""
    sizes = rng.normal(0.0, roughness, len(lobes)) / np.sqrt(np.arange(1, len(lobes) + 1))
    phases = rng.uniform(0.0, 2.0 * math.pi, len(lobes))

    def radius(angle: NDArray[np.floating]) -> NDArray[np.floating]:
        waves = [size * np.cos(lobe * angle + phase) for lobe, size, phase in zip(lobes, sizes, phases, strict=True)]
        return np.asarray(mean * np.clip(1.0 + np.sum(waves, axis=0), 0.5, 1.4))

    return radius


def _oval_radius(rng: Generator, size: float) -> RadiusAt:
    """Return an ellipse of any direction with gentle lobes, a half-axis of `size` pixels and an axis ratio of 0.62 to
    1."""
    ratio, direction = rng.uniform(0.62, 1.0), rng.uniform(0.0, math.pi)
    lobe, phase = rng.uniform(0.0, 0.045), rng.uniform(0.0, 2.0 * math.pi)

    def radius(angle: NDArray[np.floating]) -> NDArray[np.floating]:
        turned = angle - direction
        ellipse = ratio / np.sqrt((ratio * np.cos(turned)) ** 2 + np.sin(turned) ** 2)
        return np.asarray(size * ellipse * (1.0 + lobe * np.cos(3.0 * turned + phase)))

    return radius


def _dome(shape: tuple[int, ...], site: Site, radius: RadiusAt, power: float) -> NDArray[np.floating]:
    """Return the thickness of a rounded body, 0 to 1. Power 0.5 is an ellipsoid; a larger one falls off more gently."""
    distance, angle = _polar(shape, site)
    return np.asarray(np.maximum(1.0 - (distance / radius(angle)) ** 2, 0.0) ** power)


def _rim(shape: tuple[int, ...], site: Site, radius: RadiusAt, width: float) -> NDArray[np.floating]:
    """Return a thin band just outside the curve, 0 to 1: the radiolucent halo of a mass that displaces fat."""
    distance, angle = _polar(shape, site)
    return np.asarray(np.exp(-(((distance - radius(angle) - width) / width) ** 2)))


def _lumps(rng: Generator, shape: tuple[int, ...], amount: float) -> NDArray[np.floating]:
    """Return slow random variation about 1 with standard deviation `amount`: no tissue has a uniform density."""
    coarse = rng.normal(0.0, 1.0, (max(2, shape[0] // 14), max(2, shape[1] // 14))).astype(np.float32)
    height, width = shape
    fine = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    return np.asarray(np.clip(1.0 + amount * fine, 0.4, 1.6))


class _Strokes:
    """An ink drawing of lines and specks over a region, finer than its pixels. Overlapping ink does not add up."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._shape = shape
        self._image = Image.new("L", (shape[1] * _FINER, shape[0] * _FINER))
        self._draw = ImageDraw.Draw(self._image)

    def band(self, left: Points, right: Points, ink: float) -> None:
        """Fill between two paths of N points each with ink (0 to 1)."""
        corners = np.concatenate([left, right[::-1]])[:, ::-1] * _FINER + _FINER / 2
        self._draw.polygon([(x, y) for x, y in corners.tolist()], fill=round(255 * ink))

    def density(self, blur: float = _FILM_BLUR) -> NDArray[np.floating]:
        """Return the drawing at the resolution and sharpness of film, H x W, 0 to 1."""
        inked = np.asarray(self._image.reduce(_FINER), dtype=np.float32) / 255.0
        return np.asarray(ndimage.gaussian_filter(inked, blur))


def _ribbon(path: Points, widths: NDArray[np.floating]) -> tuple[Points, Points]:
    """Return the two sides of a stroke with the given widths (pixels) along a path of N points."""
    offset = 0.5 * widths[:, None] * _normals(path)
    return path - offset, path + offset


def _normals(path: Points) -> Points:
    """Return the unit vectors across a path of N points."""
    along = np.gradient(path, axis=0)
    along /= np.maximum(np.hypot(along[:, :1], along[:, 1:]), 1e-9)
    return np.stack([-along[:, 1], along[:, 0]], axis=1)


def _spicules(
    rng: Generator, shape: tuple[int, ...], site: Site, core: float
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Draw fine lines that radiate from the mass and thin out. Return them, 0 to 1, and the radius of the spiculation
    at the angles `_AROUND`."""
    coarse, fine, tips = _Strokes(shape), _Strokes(shape), np.zeros_like(_AROUND)
    for angle in _directions(rng, int(rng.integers(30, 56))):
        length = core + (site.reach - core) * rng.beta(1.6, 1.5)
        path = _bent_ray(rng, site, angle, rng.uniform(0.6, 0.9) * core, length)
        broad = rng.random() < 0.3
        widths = rng.uniform(*((5.0, 11.0) if broad else (1.8, 4.5))) * np.linspace(1.0, 0.2, len(path))
        (coarse if broad else fine).band(*_ribbon(path, widths), ink=rng.uniform(0.35, 1.0))
        tips = np.maximum(tips, np.where(np.cos(_AROUND - angle) > math.cos(0.13), length, 0.0))
    distance, _ = _polar(shape, site)
    fade = np.clip(1.1 - 0.95 * (distance - core) / (site.reach - core), 0.1, 1.0)
    fade *= np.clip(distance / core - 0.35, 0.0, 0.65) / 0.65
    lines = np.maximum(fine.density(), 0.8 * coarse.density(2.2 * _FILM_BLUR))
    return lines * fade, 0.75 * ndimage.gaussian_filter1d(tips, 1.0, mode="wrap")


def _directions(rng: Generator, count: int) -> NDArray[np.floating]:
    """Draw angles unevenly around the circle: spicules grow in tufts."""
    tufts = rng.uniform(0.0, 2.0 * math.pi, max(3, count // 5))
    in_tufts = rng.choice(tufts, count // 2) + rng.normal(0.0, 0.14, count // 2)
    return np.concatenate([in_tufts, rng.uniform(0.0, 2.0 * math.pi, count - count // 2)])


def _bent_ray(rng: Generator, site: Site, angle: float, start: float, end: float) -> Points:
    """Draw a slightly curved path of 12 points away from the site's centre, from `start` to `end` pixels."""
    steps = np.linspace(0.0, 1.0, 12)
    angles = angle + rng.normal(0.0, 0.10) * steps**2
    distances = start + (end - start) * steps
    return np.stack([site.row + distances * np.sin(angles), site.column + distances * np.cos(angles)], axis=1)


def _cluster(rng: Generator, site: Site, count: int) -> Points:
    """Draw the places of grouped calcifications: denser in the middle, and stretched along a duct."""
    spread = site.reach * rng.uniform(0.24, 0.40) * np.array([1.0, rng.uniform(0.35, 0.9)])
    duct = rng.uniform(0.0, math.pi)
    turn = np.array([[math.cos(duct), math.sin(duct)], [-math.sin(duct), math.cos(duct)]])
    offsets = rng.normal(0.0, 1.0, (count, 2)) * spread @ turn
    distance = np.hypot(offsets[:, :1], offsets[:, 1:])
    offsets *= np.minimum(1.0, 0.8 * site.reach / np.maximum(distance, 1e-9))
    return np.asarray(offsets + np.array([site.row, site.column]))


def _granule(rng: Generator, canvas: _Strokes, place: Points) -> None:
    """Draw an irregular speck of about 0.1 to 0.5 mm with random corners."""
    size = 0.5 * PIXELS_PER_MM * float(np.clip(rng.lognormal(-1.5, 0.45), 0.10, 0.5))
    angles = np.sort(rng.uniform(0.0, 2.0 * math.pi, 8))
    radii = size * rng.uniform(0.5, 1.5, 8)
    corners = place + np.stack([radii * np.sin(angles), radii * np.cos(angles)], axis=1)
    canvas.band(corners[:4], corners[4:][::-1], ink=rng.uniform(0.3, 1.0))


def _fine_linear(rng: Generator, canvas: _Strokes, place: Points) -> None:
    """Draw a thin, uneven, crumbly cast of a duct, 0.3 to 1.1 mm long, which sometimes branches."""
    angle = rng.uniform(0.0, 2.0 * math.pi)
    for branch in range(2 if rng.random() < 0.3 else 1):
        length = rng.uniform(0.3, 1.1 if branch == 0 else 0.6) * PIXELS_PER_MM
        start = Site(float(place[0]), float(place[1]), length)
        path = _bent_ray(rng, start, angle + branch * rng.uniform(0.5, 1.0), 0.0, length)
        path = path + rng.normal(0.0, 0.35, path.shape)
        widths = rng.uniform(1.6, 3.4) * rng.uniform(0.4, 1.4, len(path)) * np.linspace(1.15, 0.6, len(path))
        left, right = _ribbon(path, widths)
        for part in range(0, len(path) - 1, 3):
            canvas.band(left[part : part + 4], right[part : part + 4], ink=rng.uniform(0.4, 1.0))


def _vessel_path(rng: Generator, site: Site) -> tuple[Points, Points]:
    """Draw a gently winding vessel through the site. Return its middle line (N x 2) and the unit vectors across it."""
    along = np.linspace(-0.88, 0.88, 160)
    bend, phase = rng.uniform(-0.16, 0.16), rng.uniform(0.0, 2.0 * math.pi)
    across = bend * along**2 + rng.uniform(0.02, 0.06) * np.sin(rng.uniform(3.0, 6.0) * along + phase)
    across -= across[len(across) // 2]
    angle = rng.uniform(0.0, 2.0 * math.pi)
    turn = np.array([[math.sin(angle), math.cos(angle)], [math.cos(angle), -math.sin(angle)]])
    path = site.reach * np.stack([along, across], axis=1) @ turn + (site.row, site.column)
    return path, _normals(path)


def _calcified_wall(rng: Generator, canvas: _Strokes, wall: Points) -> None:
    """Draw crumbling plaques along one wall of a vessel, with gaps, and of uneven length, width and density."""
    at = int(rng.integers(0, 10))
    while at < len(wall) - 4:
        length = int(rng.integers(4, 34))
        plaque = wall[at : at + length]
        if len(plaque) > 2:
            _plaque(rng, canvas, plaque + ndimage.gaussian_filter1d(rng.normal(0.0, 1.6, plaque.shape), 2.0, axis=0))
        at += length + int(rng.integers(1, 14 if rng.random() < 0.25 else 5))


def _plaque(rng: Generator, canvas: _Strokes, path: Points) -> None:
    """Draw a plaque along a path: grains of uneven width and density that merge into each other."""
    widths = rng.uniform(2.2, 5.0) * np.clip(rng.normal(1.0, 0.35, len(path)), 0.25, 1.8)
    widths = ndimage.gaussian_filter1d(widths, 1.0) * np.sin(np.linspace(0.35, math.pi - 0.35, len(path))) ** 0.5
    left, right = _ribbon(path, widths)
    for grain in range(0, len(path) - 1, 4):
        canvas.band(left[grain : grain + 5], right[grain : grain + 5], ink=rng.uniform(0.35, 1.0))


def _star(site: Site, radii: NDArray[np.floating]) -> Outline:
    """Return the polygon with the given radii (pixels) at the angles `_AROUND`."""
    return _polygon(np.stack([site.row + radii * np.sin(_AROUND), site.column + radii * np.cos(_AROUND)], axis=1))


def _hull(places: Points, margin: float) -> Outline:
    """Return the convex hull of the places, extended by `margin` pixels."""
    around = margin * np.stack([np.sin(_AROUND[::6]), np.cos(_AROUND[::6])], axis=1)
    grown = (places[:, None, :] + around[None, :, :]).reshape(-1, 2)
    return _polygon(grown[ConvexHull(grown).vertices])


def _polygon(vertices: Points) -> Outline:
    return tuple((round(float(row), 1), round(float(column), 1)) for row, column in vertices)
