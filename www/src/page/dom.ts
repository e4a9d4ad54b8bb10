/** Elements of the page, by id and type: a mistake in either is found at once and by name. */
export function element<E extends Element>(id: string, type: new () => E): E {
  const found = document.getElementById(id);
  if (!(found instanceof type)) {
    throw new Error(`#${id} is not a ${type.name}`);
  }
  return found;
}

/** A canvas's 2D context; browsers give `null` only where the canvas has another kind already. */
export function context2d(canvas: HTMLCanvasElement): CanvasRenderingContext2D {
  const context = canvas.getContext("2d");
  if (!context) {
    throw new Error("a 2D canvas is not available");
  }
  return context;
}
