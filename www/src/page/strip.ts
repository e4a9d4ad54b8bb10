/** The film strip under the picture: cells that fill as frames are decoded. */
import { context2d } from "./dom.js";

/** Sizes in CSS pixels. */
const CELL_GAP = 3;
const EDGE = 13;
const HOLE = { width: 6, height: 6, pitch: 14 };

export class Strip {
  readonly #canvas: HTMLCanvasElement;
  readonly #context: CanvasRenderingContext2D;
  #thumbnails: (HTMLCanvasElement | undefined)[] = [];
  #aspect = 1;
  #current = 0;

  constructor(canvas: HTMLCanvasElement) {
    this.#canvas = canvas;
    this.#context = context2d(canvas);
    new ResizeObserver(() => this.#draw()).observe(canvas);
  }

  /** An empty strip for a clip of `frames` frames. */
  reset(frames: number, aspect: number): void {
    this.#thumbnails = new Array<undefined>(frames).fill(undefined);
    this.#aspect = aspect;
    this.#current = 0;
    this.#draw();
  }

  /** Keeps a small copy of what `picture` shows as frame `index`. */
  add(index: number, picture: HTMLCanvasElement): void {
    const thumbnail = document.createElement("canvas");
    const height = Math.min(picture.height, 128);
    thumbnail.height = height;
    thumbnail.width = Math.max(1, Math.round((picture.width / picture.height) * height));
    context2d(thumbnail).drawImage(picture, 0, 0, thumbnail.width, thumbnail.height);
    this.#thumbnails[index] = thumbnail;
    this.#draw();
  }

  show(index: number): void {
    if (index !== this.#current) {
      this.#current = index;
      this.#draw();
    }
  }

  #draw(): void {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    if (width === 0 || height === 0) {
      return;
    }
    const scale = Math.min(globalThis.devicePixelRatio, 2);
    const context = this.#context;
    this.#canvas.width = Math.round(width * scale);
    this.#canvas.height = Math.round(height * scale);
    context.scale(scale, scale);
    this.#drawHoles(width, height);
    this.#drawCells(width, height);
  }

  #drawHoles(width: number, height: number): void {
    this.#context.fillStyle = "#f3e6cf2e";
    const count = Math.floor(width / HOLE.pitch);
    const pitch = width / count;
    for (let k = 0; k < count; k++) {
      const x = (k + 0.5) * pitch - HOLE.width / 2;
      for (const y of [(EDGE - HOLE.height) / 2, height - (EDGE + HOLE.height) / 2]) {
        this.#context.beginPath();
        this.#context.roundRect(x, y, HOLE.width, HOLE.height, 1.5);
        this.#context.fill();
      }
    }
  }

  /** As many cells as there is room for at the picture's shape, each standing for an even share of the frames. */
  #drawCells(width: number, height: number): void {
    const context = this.#context;
    const frames = this.#thumbnails.length;
    const cellHeight = height - 2 * EDGE;
    const room = Math.max(1, Math.floor(width / (cellHeight * this.#aspect + CELL_GAP)));
    const cells = Math.max(room, Math.min(frames, 2 * room));
    const pitch = width / cells;
    for (let cell = 0; cell < cells; cell++) {
      const x = cell * pitch + CELL_GAP / 2;
      const cellWidth = pitch - CELL_GAP;
      context.fillStyle = "#f3e6cf12";
      context.fillRect(x, EDGE, cellWidth, cellHeight);
      const thumbnail = this.#thumbnails[Math.floor((cell * frames) / cells)];
      if (thumbnail) {
        drawCover(context, thumbnail, x, EDGE, cellWidth, cellHeight);
      }
    }
    if (this.#thumbnails[this.#current]) {
      const cell = Math.floor((this.#current * cells) / frames);
      context.strokeStyle = "#f2b75c";
      context.lineWidth = 2;
      context.strokeRect(cell * pitch + 1, EDGE - 2, pitch - 2, cellHeight + 4);
    }
  }
}

/** Draws the middle of `image`, filling the cell without changing the image's shape. */
function drawCover(
  context: CanvasRenderingContext2D,
  image: HTMLCanvasElement,
  x: number,
  y: number,
  width: number,
  height: number,
): void {
  const scale = Math.max(width / image.width, height / image.height);
  const [w, h] = [width / scale, height / scale];
  context.drawImage(image, (image.width - w) / 2, (image.height - h) / 2, w, h, x, y, width, height);
}
