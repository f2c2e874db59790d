"""The papers that methods, metrics and studies come from, as BibTeX has them."""

from __future__ import annotations

import re
from collections.abc import Mapping

_HASANY = "Hasany, Syed Nouman and Mériaudeau, Fabrice and Petitjean, Caroline"
_SELVARAJU = "Selvaraju, Ramprasaath R. and Cogswell, Michael and Das, Abhishek and Vedantam, Ramakrishna and Parikh, Devi and Batra, Dhruv"

Work = tuple[str, str, str, int, str]
"""Kind of the entry, authors, title, year, and where it was published."""

WORKS: Mapping[str, Work] = {
    "aabid_sicre": ("unpublished", "Aabid, Mohsine and Sicre, Ronan", "Foreground segmentation to measure deep neural networks interpretability", 0, "Aix-Marseille Université, LIS"),
    "achtibat2023": ("article", "Achtibat, Reduan and Dreyer, Maximilian and Eisenbraun, Ilona and Bosse, Sebastian and Wiegand, Thomas and Samek, Wojciech and Lapuschkin, Sebastian", "From attribution maps to human-understandable explanations through Concept Relevance Propagation", 2023, "Nature Machine Intelligence"),
    "bach2015": ("article", "Bach, Sebastian and Binder, Alexander and Montavon, Grégoire and Klauschen, Frederick and Müller, Klaus-Robert and Samek, Wojciech", "On Pixel-Wise Explanations for Non-Linear Classifier Decisions by Layer-Wise Relevance Propagation", 2015, "PLoS ONE"),
    "bau2017": ("inproceedings", "Bau, David and Zhou, Bolei and Khosla, Aditya and Oliva, Aude and Torralba, Antonio", "Network Dissection: Quantifying Interpretability of Deep Visual Representations", 2017, "IEEE Conference on Computer Vision and Pattern Recognition (CVPR)"),
    "breiman2001": ("article", "Breiman, Leo", "Random Forests", 2001, "Machine Learning 45(1), 5-32, doi:10.1023/A:1010933404324"),
    "chattopadhay2018": ("inproceedings", "Chattopadhay, Aditya and Sarkar, Anirban and Howlader, Prantik and Balasubramanian, Vineeth N.", "Grad-CAM++: Generalized Gradient-Based Visual Explanations for Deep Convolutional Networks", 2018, "IEEE Winter Conference on Applications of Computer Vision (WACV)"),
    "chung2025": ("article", "Chung, Ching-Ting and Ying, Josh Jia-Ching", "Seg-Eigen-CAM: Eigen-Value-Based Visual Explanations for Semantic Segmentation Models", 2025, "Applied Sciences 15(13), 7562"),
    "couteaux2019": ("inproceedings", "Couteaux, Vincent and Nempont, Olivier and Pizaine, Guillaume and Bloch, Isabelle", "Towards Interpretability of Segmentation Networks by Analyzing DeepDreams", 2019, "MICCAI Workshop on Interpretability of Machine Intelligence in Medical Image Computing (iMIMIC)"),
    "dardouillet2022": ("inproceedings", "Dardouillet, Pierre and Benoit, Alexandre and Amri, Emna and Bolon, Philippe and Dubucq, Dominique and Crédoz, Anthony", "Explainability of Image Semantic Segmentation Through SHAP Values", 2022, "ICPR Workshops, Explainable and Ethical AI"),
    "demsar2006": ("article", "Demšar, Janez", "Statistical Comparisons of Classifiers over Multiple Data Sets", 2006, "Journal of Machine Learning Research 7, 1-30"),
    "dombrowski2019": ("inproceedings", "Dombrowski, Ann-Kathrin and Alber, Maximilian and Anders, Christopher J. and Ackermann, Marcel and Müller, Klaus-Robert and Kessel, Pan", "Explanations can be manipulated and geometry is to blame", 2019, "Advances in Neural Information Processing Systems (NeurIPS)"),
    "draelos2020": ("misc", "Draelos, Rachel Lea and Carin, Lawrence", "Use HiResCAM instead of Grad-CAM for faithful explanations of convolutional neural networks", 2020, "arXiv:2011.08891"),
    "dreyer2023": ("inproceedings", "Dreyer, Maximilian and Achtibat, Reduan and Wiegand, Thomas and Samek, Wojciech and Lapuschkin, Sebastian", "Revealing Hidden Context Bias in Segmentation and Object Detection through Concept-specific Explanations", 2023, "IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR) Workshops"),
    "dreyer2024": ("inproceedings", "Dreyer, Maximilian and Achtibat, Reduan and Samek, Wojciech and Lapuschkin, Sebastian", "Understanding the (Extra-)Ordinary: Validating Deep Model Decisions with Prototypical Concept-based Explanations", 2024, "IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR) Workshops"),
    "fel2021": ("inproceedings", "Fel, Thomas and Cadène, Rémi and Chalvidal, Mathieu and Cord, Matthieu and Vigouroux, David and Serre, Thomas", "Look at the Variance! Efficient Black-box Explanations with Sobol-based Sensitivity Analysis", 2021, "Advances in Neural Information Processing Systems (NeurIPS)"),
    "fel2023": ("inproceedings", "Fel, Thomas and Picard, Agustin and Béthune, Louis and Boissin, Thibaut and Vigouroux, David and Colin, Julien and Cadène, Rémi and Serre, Thomas", "CRAFT: Concept Recursive Activation FacTorization for Explainability", 2023, "IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)"),
    "fong2019": ("inproceedings", "Fong, Ruth and Patrick, Mandela and Vedaldi, Andrea", "Understanding Deep Networks via Extremal Perturbations and Smooth Masks", 2019, "IEEE/CVF International Conference on Computer Vision (ICCV)"),
    "fu2020": ("inproceedings", "Fu, Ruigang and Hu, Qingyong and Dong, Xiaohu and Guo, Yulan and Gao, Yinghui and Li, Biao", "Axiom-based Grad-CAM: Towards Accurate Visualization and Explanation of CNNs", 2020, "British Machine Vision Conference (BMVC)"),
    "gan2022": ("inproceedings", "Gan, Yuyou and Mao, Yuhao and Zhang, Xuhong and Ji, Shouling and Pu, Yuwen and Han, Meng and Yin, Jianwei and Wang, Ting", "``Is your explanation stable?'': A Robustness Evaluation Framework for Feature Attribution", 2022, "ACM SIGSAC Conference on Computer and Communications Security (CCS)"),
    "garret2023": ("misc", "Garret, Guillaume and Vacavant, Antoine and Frindel, Carole", "XAI-VesselNet: explain liver vessel segmentation by a graph-based approach", 2023, ""),
    "ghorbani2019": ("inproceedings", "Ghorbani, Amirata and Wexler, James and Zou, James and Kim, Been", "Towards Automatic Concept-based Explanations", 2019, "Advances in Neural Information Processing Systems (NeurIPS)"),
    "gipiskis2023attacks": ("article", "Gipiškis, Rokas and Chiaro, Diletta and Preziosi, M. and Prezioso, Edoardo and Piccialli, Francesco", "The Impact of Adversarial Attacks on Interpretable Semantic Segmentation in Cyber-Physical Systems", 2023, "IEEE Systems Journal"),
    "gipiskis2023occlusion": ("inproceedings", "Gipiškis, Rokas and Kurasova, Olga", "Occlusion-Based Approach for Interpretable Semantic Segmentation", 2023, "Iberian Conference on Information Systems and Technologies (CISTI)"),
    "gizzini2023": ("misc", "Gizzini, Abdul Karim and Shukor, Mustafa and Ghandour, Ali J.", "Extending CAM-based XAI methods for Remote Sensing Imagery Segmentation", 2023, "arXiv:2310.01837"),
    "goodfellow2015": ("inproceedings", "Goodfellow, Ian J. and Shlens, Jonathon and Szegedy, Christian", "Explaining and Harnessing Adversarial Examples", 2015, "International Conference on Learning Representations (ICLR)"),
    "hasany2023": ("inproceedings", "Hasany, Syed Nouman and Petitjean, Caroline and Mériaudeau, Fabrice", "Seg-XRes-CAM: Explaining Spatially Local Regions in Image Segmentation", 2023, "IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR) Workshops"),
    "hasany2024tour": ("inproceedings", _HASANY, "A Guided Tour of Post-hoc XAI Techniques in Image Segmentation", 2024, "Explainable Artificial Intelligence, 155-177, doi:10.1007/978-3-031-63797-1_9"),
    "hasany2026misure": ("misc", _HASANY, "MiSuRe is all you need to explain your image segmentation", 2026, "Preprint, HAL hal-05370304"),
    "hasany_dos_donts": ("misc", _HASANY, "The Do's and Don'ts of Grad-CAM in Image Segmentation as demonstrated on the Synapse multi-organ CT Dataset", 0, "HAL hal-05370301"),
    "haufe2014": ("article", "Haufe, Stefan and Meinecke, Frank and Görgen, Kai and Dähne, Sven and Haynes, John-Dylan and Blankertz, Benjamin and Bießmann, Felix", "On the interpretation of weight vectors of linear models in multivariate neuroimaging", 2014, "NeuroImage"),
    "he2023": ("article", "He, Sheng and Feng, Yanfang and Grant, P. Ellen and Ou, Yangming", "Segmentation ability map: Interpret deep features for medical image segmentation", 2023, "Medical Image Analysis"),
    "heide2021": ("inproceedings", "Heide, Nina Felicitas and Müller, Erik and Petereit, Janko and Heizmann, Michael", "X3SEG: Model-Agnostic Explanations for the Semantic Segmentation of 3D Point Clouds with Prototypes and Criticism", 2021, "IEEE International Conference on Image Processing (ICIP)"),
    "hoyer2019": ("inproceedings", "Hoyer, Lukas and Munoz, Mauricio and Katiyar, Prateek and Khoreva, Anna and Fischer, Volker", "Grid Saliency for Context Explanations of Semantic Segmentation", 2019, "Advances in Neural Information Processing Systems (NeurIPS)"),
    "iglewicz1993": ("book", "Iglewicz, Boris and Hoaglin, David C.", "How to Detect and Handle Outliers", 1993, "ASQC Quality Press"),
    "jain2010": ("inproceedings", "Jain, Viren and Bollmann, Benjamin and Richardson, Mark and others", "Boundary Learning by Optimization with Topological Constraints", 2010, "IEEE Conference on Computer Vision and Pattern Recognition (CVPR)"),
    "janik2021": ("inproceedings", "Janik, Adrianna and Dodd, Jonathan and Ifrim, Georgiana and Sankaran, Kris and Curran, Kathleen M.", "Interpretability of a deep learning model in the application of cardiac MRI segmentation with an ACDC challenge dataset", 2021, "SPIE Medical Imaging, arXiv:2103.08590"),
    "jiang2021": ("article", "Jiang, Peng-Tao and Zhang, Chang-Bin and Hou, Qibin and Cheng, Ming-Ming and Wei, Yunchao", "LayerCAM: Exploring Hierarchical Class Activation Maps for Localization", 2021, "IEEE Transactions on Image Processing"),
    "kapishnikov2019": ("inproceedings", "Kapishnikov, Andrei and Bolukbasi, Tolga and Viégas, Fernanda and Terry, Michael", "XRAI: Better Attributions Through Regions", 2019, "IEEE/CVF International Conference on Computer Vision (ICCV)"),
    "kapishnikov2021": ("inproceedings", "Kapishnikov, Andrei and Venugopalan, Subhashini and Avci, Besim and Wedin, Ben and Terry, Michael and Bolukbasi, Tolga", "Guided Integrated Gradients: an Adaptive Path Method for Removing Noise", 2021, "IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)"),
    "kim2016": ("inproceedings", "Kim, Been and Khanna, Rajiv and Koyejo, Oluwasanmi", "Examples are not Enough, Learn to Criticize! Criticism for Interpretability", 2016, "Advances in Neural Information Processing Systems (NIPS)"),
    "kim2018": ("inproceedings", "Kim, Been and Wattenberg, Martin and Gilmer, Justin and Cai, Carrie and Wexler, James and Viégas, Fernanda and Sayres, Rory", "Interpretability Beyond Feature Attribution: Quantitative Testing with Concept Activation Vectors (TCAV)", 2018, "International Conference on Machine Learning (ICML)"),
    "kohlbrenner2020": ("inproceedings", "Kohlbrenner, Maximilian and Bauer, Alexander and Nakajima, Shinichi and Binder, Alexander and Samek, Wojciech and Lapuschkin, Sebastian", "Towards Best Practice in Explaining Neural Network Decisions with LRP", 2020, "International Joint Conference on Neural Networks (IJCNN)"),
    "koker2021": ("inproceedings", "Koker, Teddy and Mireshghallah, Fatemehsadat and Titcombe, Tom and Kaissis, Georgios", "U-Noise: Learnable Noise Masks for Interpretable Image Segmentation", 2021, "IEEE International Conference on Image Processing (ICIP)"),
    "kori2020": ("misc", "Kori, Avinash and Natekar, Parth and Krishnamurthi, Ganapathy and Srinivasan, Balaji", "Abstracting Deep Neural Networks into Concept Graphs for Concept Level Interpretability", 2020, "arXiv:2008.06457"),
    "ledoit2004": ("article", "Ledoit, Olivier and Wolf, Michael", "A well-conditioned estimator for large-dimensional covariance matrices", 2004, "Journal of Multivariate Analysis 88(2), 365-411, doi:10.1016/S0047-259X(03)00096-4"),
    "lundberg2017": ("inproceedings", "Lundberg, Scott M. and Lee, Su-In", "A Unified Approach to Interpreting Model Predictions", 2017, "Advances in Neural Information Processing Systems (NIPS)"),
    "molchanova2025": ("misc", "Molchanova, Nataliia and Gordaliza, Pedro M. and Cagol, Alessandro and Ocampo-Pineda, Mario and Lu, Po-Jui and Weigel, Matthias and Chen, Xinjie and Beck, Erin S. and Tsagkas, Haris and Reich, Daniel and Stölting, Anna and Maggi, Pietro and Ribes, Delphine and Depeursinge, Adrien and Granziera, Cristina and Müller, Henning and Bach Cuadra, Meritxell", "Explaining Uncertainty in Multiple Sclerosis Cortical Lesion Segmentation Beyond Prediction Errors", 2025, "arXiv:2504.04814"),
    "montavon2017": ("article", "Montavon, Grégoire and Lapuschkin, Sebastian and Binder, Alexander and Samek, Wojciech and Müller, Klaus-Robert", "Explaining nonlinear classification decisions with deep Taylor decomposition", 2017, "Pattern Recognition"),
    "muhammad2020": ("inproceedings", "Muhammad, Mohammed Bany and Yeasin, Mohammed", "Eigen-CAM: Class Activation Map using Principal Components", 2020, "International Joint Conference on Neural Networks (IJCNN)"),
    "mullan2022": ("inproceedings", "Mullan, Sean and Sonka, Milan", "Visual attribution for deep learning segmentation in medical imaging", 2022, "Medical Imaging 2022: Image Processing"),
    "mullan2023": ("article", "Mullan, Sean and Sonka, Milan", "Kernel-weighted contribution: a method of visual attribution for 3D deep learning segmentation in medical imaging", 2023, "Journal of Medical Imaging"),
    "natekar2020": ("article", "Natekar, Parth and Kori, Avinash and Krishnamurthi, Ganapathy", "Demystifying Brain Tumor Segmentation Networks: Interpretability and Uncertainty Analysis", 2020, "Frontiers in Computational Neuroscience"),
    "okamoto2023": ("inproceedings", "Okamoto, T. and Gu, C. and Yu, J. and Zhang, C.", "Generating Smooth Interpretability Map for Explainable Image Segmentation", 2023, "IEEE Global Conference on Consumer Electronics (GCCE)"),
    "osullivan2024": ("inproceedings", "O'Sullivan, Conor and Coveney, Seamus and Monteys, Xavier and Dev, Soumyabrata", "Interpreting a Semantic Segmentation Model for Coastline Detection", 2023, "Photonics & Electromagnetics Research Symposium (PIERS), arXiv:2405.11500"),
    "pahde2025": ("inproceedings", "Pahde, Frederik and Dreyer, Maximilian and Weber, Leander and Weckbecker, Moritz and Anders, Christopher J. and Wiegand, Thomas and Samek, Wojciech and Lapuschkin, Sebastian", "Navigating Neural Space: Revisiting Concept Activation Vectors to Overcome Directional Divergence", 2025, "International Conference on Learning Representations (ICLR)"),
    "petsiuk2018": ("inproceedings", "Petsiuk, Vitali and Das, Abir and Saenko, Kate", "RISE: Randomized Input Sampling for Explanation of Black-box Models", 2018, "British Machine Vision Conference (BMVC)"),
    "ramaswamy2020": ("inproceedings", "Desai, Saurabh and Ramaswamy, Harish G.", "Ablation-CAM: Visual Explanations for Deep Convolutional Network via Gradient-free Localization", 2020, "IEEE Winter Conference on Applications of Computer Vision (WACV)"),
    "ren2025": ("misc", "Ren, Tianyi and Heras Rivera, Juampablo and Oswal, Hitender and Pan, Yutong and Chopra, Agamdeep and Ruzevick, Jacob and Kurt, Mehmet", "Here Comes the Explanation: A Shapley Perspective on Multi-contrast Medical Image Segmentation", 2025, "arXiv:2504.04645"),
    "rheude2024": ("article", "Rheude, Tillmann and Wirtz, Andreas and Kuijper, Arjan and Wesarg, Stefan", "Leveraging CAM Algorithms for Explaining Medical Semantic Segmentation", 2024, "Machine Learning for Biomedical Imaging (MELBA)"),
    "ribeiro2016": ("inproceedings", "Ribeiro, Marco Tulio and Singh, Sameer and Guestrin, Carlos", "``Why Should I Trust You?'': Explaining the Predictions of Any Classifier", 2016, "ACM SIGKDD International Conference on Knowledge Discovery and Data Mining (KDD)"),
    "saleem2021": ("article", "Saleem, Hira and Shahid, Ahmad Raza and Raza, Basit", "Visual interpretability in 3D brain tumor segmentation network", 2021, "Computers in Biology and Medicine"),
    "samek2017": ("article", "Samek, Wojciech and Binder, Alexander and Montavon, Grégoire and Lapuschkin, Sebastian and Müller, Klaus-Robert", "Evaluating the Visualization of What a Deep Neural Network Has Learned", 2017, "IEEE Transactions on Neural Networks and Learning Systems"),
    "santamaria2020": ("misc", "Santamaria-Pang, Alberto and Kubricht, James and Chowdhury, Aritra and Bhushan, Chitresh and Tu, Peter", "Towards Emergent Language Symbolic Semantic Segmentation and Model Interpretability", 2020, "arXiv:2007.09448"),
    "schorr2021": ("article", "Schorr, Christian and Goodarzi, Payman and Chen, Fei and Dahmen, Tim", "Neuroscope: An Explainable AI Toolbox for Semantic Segmentation and Image Classification of Convolutional Neural Nets", 2021, "Applied Sciences"),
    "selvaraju2017": ("inproceedings", _SELVARAJU, "Grad-CAM: Visual Explanations from Deep Networks via Gradient-Based Localization", 2017, "IEEE International Conference on Computer Vision (ICCV)"),
    "shreim2023": ("misc", "Shreim, Hossein and Gizzini, Abdul Karim and Ghandour, Ali J.", "Trainable Noise Model as an XAI evaluation method: application on Sobol for remote sensing image segmentation", 2023, "arXiv:2310.01828"),
    "shrikumar2016": ("misc", "Shrikumar, Avanti and Greenside, Peyton and Shcherbina, Anna and Kundaje, Anshul", "Not Just a Black Box: Learning Important Features Through Propagating Activation Differences", 2016, "arXiv:1605.01713"),
    "simonyan2014": ("inproceedings", "Simonyan, Karen and Vedaldi, Andrea and Zisserman, Andrew", "Deep Inside Convolutional Networks: Visualising Image Classification Models and Saliency Maps", 2014, "International Conference on Learning Representations (ICLR) Workshops"),
    "singh2022": ("inproceedings", "Singh, D. and Somani, A. and Horsch, A. and Prasad, D. K.", "Counterfactual Explainable Gastrointestinal and Colonoscopy Image Segmentation", 2022, "IEEE International Symposium on Biomedical Imaging (ISBI)"),
    "smilkov2017": ("misc", "Smilkov, Daniel and Thorat, Nikhil and Kim, Been and Viégas, Fernanda and Wattenberg, Martin", "SmoothGrad: removing noise by adding noise", 2017, "arXiv:1706.03825"),
    "springenberg2015": ("inproceedings", "Springenberg, Jost Tobias and Dosovitskiy, Alexey and Brox, Thomas and Riedmiller, Martin", "Striving for Simplicity: The All Convolutional Net", 2015, "International Conference on Learning Representations (ICLR) Workshops"),
    "sundararajan2017": ("inproceedings", "Sundararajan, Mukund and Taly, Ankur and Yan, Qiqi", "Axiomatic Attribution for Deep Networks", 2017, "International Conference on Machine Learning (ICML)"),
    "vinogradova2020": ("inproceedings", "Vinogradova, Kira and Dibrov, Alexandr and Myers, Gene", "Towards Interpretable Semantic Segmentation via Gradient-weighted Class Activation Mapping (Student Abstract)", 2020, "AAAI Conference on Artificial Intelligence"),
    "wan2020": ("misc", "Wan, Alvin and Ho, Daniel and Song, Younjin and Tillman, Henk and Bargal, Sarah Adel and Gonzalez, Joseph E.", "SegNBDT: Visual Decision Rules for Segmentation", 2020, "arXiv:2006.06868"),
    "wang2020": ("inproceedings", "Wang, Haofan and Wang, Zifan and Du, Mengnan and Yang, Fan and Zhang, Zijian and Ding, Sirui and Mardziel, Piotr and Hu, Xia", "Score-CAM: Score-Weighted Visual Explanations for Convolutional Neural Networks", 2020, "IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR) Workshops"),
    "wickstrom2020": ("article", "Wickstrøm, Kristoffer and Kampffmeyer, Michael and Jenssen, Robert", "Uncertainty and interpretability in convolutional neural networks for semantic segmentation of colorectal polyps", 2020, "Medical Image Analysis"),
    "xiao2021": ("inproceedings", "Xiao, M. and Zhang, L. and Shi, W. and Liu, J. and He, W. and Jiang, Z.", "A visualization method based on the Grad-CAM for medical image segmentation model", 2021, "International Conference on Electronic Information Engineering and Computer Science (EIECS)"),
    "zeiler2014": ("inproceedings", "Zeiler, Matthew D. and Fergus, Rob", "Visualizing and Understanding Convolutional Networks", 2014, "European Conference on Computer Vision (ECCV)"),
    "zeineldin2022": ("article", "Zeineldin, Ramy A. and Karar, Mohamed E. and Elshaer, Ziad and Coburger, Jan and Wirtz, Christian R. and Burgert, Oliver and Mathis-Ullrich, Franziska", "Explainability of deep neural networks for MRI analysis of brain tumors", 2022, "International Journal of Computer Assisted Radiology and Surgery"),
    "zemni2023": ("inproceedings", "Zemni, Mehdi and Chen, Mickaël and Zablocki, Éloi and Ben-Younes, Hédi and Pérez, Patrick and Cord, Matthieu", "OCTET: Object-aware Counterfactual Explanations", 2023, "IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)"),
    "zenk2025": ("article", "Zenk, Maximilian and Zimmerer, David and Isensee, Fabian and Traub, Jeremias and Norajitra, Tobias and Jäger, Paul F. and Maier-Hein, Klaus", "Comparative benchmarking of failure detection methods in medical image segmentation: Unveiling the role of confidence aggregation", 2025, "Medical Image Analysis 101, 103392"),
    "zhou2016": ("inproceedings", "Zhou, Bolei and Khosla, Aditya and Lapedriza, Agata and Oliva, Aude and Torralba, Antonio", "Learning Deep Features for Discriminative Localization", 2016, "IEEE Conference on Computer Vision and Pattern Recognition (CVPR)"),
}  # fmt: skip

_WHERE = {
    "article": "journal",
    "inproceedings": "booktitle",
    "misc": "howpublished",
    "unpublished": "note",
    "book": "publisher",
}
_ITSELF = "@software{napari_segxai,\n  title = {napari-segxai: explanations of image segmentation networks in napari},\n  author = {{napari-segxai contributors}},\n  license = {BSD-3-Clause}\n}\n"


def entry(key: str) -> str:
    """Return a paper as an entry of BibTeX."""
    kind, authors, title, year, where = WORKS[key]
    fields = {"author": authors, "title": f"{{{title}}}", "year": str(year or ""), _WHERE[kind]: where}
    told = [f"  {name} = {{{value.replace('&', chr(92) + '&')}}}" for name, value in fields.items() if value]
    return f"@{kind}{{{key},\n" + ",\n".join(told) + "\n}\n"


def bibtex(cited: Mapping[str, str]) -> str:
    """Return entries of BibTeX, this package first.

    Parameters
    ----------
    cited
        Keys of `WORKS`; or names of anything else, with what they say of their source.
    """
    out = [_ITSELF]
    for name, source in sorted(cited.items()):
        if name in WORKS:
            out.append(entry(name))
        elif source:
            key = re.sub(r"[^A-Za-z0-9_-]", "_", name) or "source"
            note = re.sub(r"([\\{}%&$#_~^])", " ", source)
            out.append(
                f"@misc{{{key},\n  title = {{{re.sub(r'[{}%]', ' ', name)}}},\n  note = {{{note}}}\n}}\n"
            )
    return "\n".join(out)
