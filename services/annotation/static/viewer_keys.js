// Keys of the viewer: zoom, movement, level and window.
const ZOOM = 1.25;
const STEP = 0.1;
const PAN = { ArrowLeft: [STEP, 0], ArrowRight: [-STEP, 0], ArrowUp: [0, STEP], ArrowDown: [0, -STEP] };

export function viewerKeys(viewer) {
  const actions = {
    "+": () => viewer.zoom(ZOOM),
    "=": () => viewer.zoom(ZOOM),
    "-": () => viewer.zoom(1 / ZOOM),
    0: () => viewer.reset(),
    b: () => viewer.adjust(-STEP, 1),
    d: () => viewer.adjust(STEP, 1),
    c: () => viewer.adjust(0, 1 - STEP),
    f: () => viewer.adjust(0, 1 / (1 - STEP)),
    m: () => viewer.other(),
  };
  // Returns whether the key was one of the viewer's.
  return (event) => {
    if (event.shiftKey && event.key in PAN && !event.target.matches("input")) viewer.pan(...PAN[event.key]);
    else if (event.key in actions) actions[event.key]();
    else return false;
    return true;
  };
}
